"""Operations of the four papers' networks at published size, counted on tensors without data: no weights, no GPU.

    python -m benchmarks.papers_operations NAME ...

Training is what `dermray train --dry-run` counts; sampling is the family's own, of one image with 2 and with 3 steps.
Bases are folders of configs alone. Writes benchmarks/results/papers_operations.json, which benchmarks.papers_on_paper
reads; a name that is given is counted again. Minutes a name on two cores.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.papers_on_paper import COUNTED, TEXT_TOKENS
from dermray.config import load, preset
from dermray.generators import bare
from dermray.generators.base import Request
from dermray.train_loop.fake_device import DEVICE, FakeDevice
from dermray.training.forecast import ATTENTION, CAPTION, of_captions
from dermray.training.settings import TrainConfig, check
from tests.generators import published

PARTS = {"vae": published.SD_VAE, "text_encoder": published.CLIP_VIT_B_32}
FLUX = {
    "transformer": published.FLUX_TRANSFORMER, "vae": published.FLUX_VAE, "scheduler": published.FLUX_SCHEDULER,
    "text_encoder": published.CLIP_VIT_L_14, "text_encoder_2": published.T5_XXL,
}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A preset at one size.

    Args:
        guidance_scale: of sampling, which doubles a step's work where a family draws with and without the text.
    """

    preset: str
    guidance_scale: float
    changes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()  # fields that name a folder of configs of their own


OF_PARTS = ("vae", "text_encoder")
NETWORKS = {
    "glide": Network("glide_paper", 3.0),
    "dermdit": Network("dermdit_paper", 1.0, ("model.compat=paper",), OF_PARTS),
    "dit": Network("dermdit_paper", 1.0, ("model.conditional=false",), OF_PARTS),
    "ldm": Network("latent_diffusion_paper", 1.0, (), OF_PARTS),
    "flux_512": Network("flux_lora_paper", 3.5, ("buckets=[512]",)),
}


def config_of(network: Network, base: Path) -> TrainConfig:
    """By one worker, an image a step; folders of configs are made in `base`."""
    folders = [f"model.{part}={base}/{part}" for part in network.parts] or [f"model.base={base}"]
    given = PARTS if network.parts else FLUX if network.preset.startswith("flux") else {}
    for part, config in given.items():
        (base / part).mkdir()
        (base / part / ("scheduler_config.json" if part == "scheduler" else "config.json")).write_text(
            json.dumps(config)
        )
    one = ["loop.workers=1", "loop.batch_size=1"]
    return load(TrainConfig, preset(f"train/{network.preset}"), [*folders, *network.changes, *one])


def of_network(network: Network, base: Path) -> dict[str, int]:
    """Operations of an image: `train` in a step, `encode` once ahead of it, `draw` beside the steps, `step`."""
    config = config_of(network, base)
    drawn, encoded = _drawn(config, network.guidance_scale)
    step = drawn[1] - drawn[0]
    return {
        "train": of_captions(config, [CAPTION]).flops, "encode": encoded if config.encode_ahead else 0,
        "draw": drawn[0] - 2 * step, "step": step,
    }  # fmt: skip


def _drawn(config: TrainConfig, guidance_scale: float) -> tuple[list[int], int]:
    """Of one image with 2 and with 3 steps, and of one that is encoded."""
    with FakeDevice() as device:
        model = bare.build(config.family, check(config), [CAPTION], device.take).eval()
        request = Request(CAPTION, 0)
        drawn = [_operations(partial(model.sample, [request], guidance_scale, steps)) for steps in (2, 3)]
        image = torch.zeros(1, 3, model.image_size, model.image_size, dtype=torch.uint8, device=DEVICE)
        return drawn, _operations(lambda: model.encode(image, [CAPTION])) if config.encode_ahead else 0


def _operations(work: Callable[[], Any]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        work()
    return counter.get_total_flops()


def of_llama_vision() -> dict[str, int]:
    """Forward passes of Llama-3.2-11B-Vision: of its image encoder with four tiles, and of its language model."""
    import transformers

    config = transformers.MllamaConfig(vision_config={"image_size": 560})  # else transformers' defaults: they are 11B's
    with torch.device("meta"):
        model = transformers.MllamaForConditionalGeneration(config).eval()
        vision = {
            "pixel_values": torch.empty(1, 1, 4, 3, 560, 560), "aspect_ratio_ids": torch.ones(1, 1, dtype=torch.long),
            "aspect_ratio_mask": torch.ones(1, 1, 4, dtype=torch.long),
        }  # fmt: skip
        states = torch.empty(1, 4 * 1601, 4096)
        tokens = torch.ones(1, TEXT_TOKENS, dtype=torch.long)
    return {
        "vision": _operations(lambda: model.model.vision_model(**vision)),
        "text": _operations(lambda: model.model.language_model(tokens, cross_attention_states=states)),
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }


def main() -> None:
    """Counts what is named, and keeps the rest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*NETWORKS, "llama_vision"])
    for name in parser.parse_args().names or [*NETWORKS, "llama_vision"]:
        with tempfile.TemporaryDirectory() as base:
            counted = of_llama_vision() if name == "llama_vision" else of_network(NETWORKS[name], Path(base))
        known = json.loads(COUNTED.read_text()) if COUNTED.exists() else {}
        COUNTED.write_text(json.dumps({**known, name: counted}, indent=1, sort_keys=True) + "\n")
        print(name, counted, flush=True)


if __name__ == "__main__":
    main()
