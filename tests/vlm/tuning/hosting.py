"""Small captioners with adapters, as `tune-vlm` leaves them, made without it: what hosts them is the question."""

import re
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from dermray import manifest
from dermray.config import Config
from dermray.manifest import Result
from dermray.vlm import nano
from dermray.vlm.nano import NanoConfig

SMALL = NanoConfig(image_size=32, hidden_size=32, vision_layers=1, language_layers=1)
LANGUAGE = r"model\.language_model\.layers\..*_proj"
ALL = (
    r"model\.(language_model\.layers|vision_tower\.encoder)\..*(_proj|fc1|fc2)|model\.multi_modal_projector\.linear_\d"
)


class Tuned(Config):
    """In the place of the stage's config."""

    output: str


def small_base(directory: Path) -> Path:
    """A nano captioner of random weights, in both formats."""
    torch.manual_seed(0)
    processor = nano.build_processor(SMALL)
    nano.save(nano.build_model(SMALL, processor.tokenizer), processor, directory)
    return directory


def with_adapter(base: Path, layers: str, loudness: float, **given: Any) -> PeftModel:
    """peft's model, whose adapters say something: by default B is zero, and nothing is heard."""
    model, _ = nano.load(base)
    torch.manual_seed(1)
    adapted = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": layers} | given))
    for name, weight in adapted.named_parameters():
        if re.search(r"lora_B|lora_magnitude", name):
            weight.data += loudness * torch.randn(weight.shape)
    return adapted.eval()


def save(adapted: PeftModel, base: Path, directory: Path) -> Path:
    """As tune-vlm saves it: the processor's files lie there too."""
    adapted.save_pretrained(str(directory))
    nano.build_processor(SMALL).save_pretrained(directory)
    return directory


def result_of(directory: Path, stage: str = "tune-vlm", **metrics: Any) -> tuple[Result, Path]:
    """A finished result without a model, and where its model belongs."""
    with manifest.work(stage, str(directory), Tuned(output=str(directory)), {}) as work:
        result = work.commit(manifest.Rows(rows_in=1, ok=1, rejected=0, failed=0), 1, **metrics)
    return result, Path(result.data) / "model"
