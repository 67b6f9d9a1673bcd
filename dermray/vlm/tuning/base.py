"""The model that is tuned: where it is, what it is, and every check of it that needs no weights."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dermray import manifest, storage, weights
from dermray.config import ConfigError
from dermray.manifest import Result
from dermray.vlm.tuning.collate import Collator
from dermray.vlm.tuning.conversations import PAIRS
from dermray.vlm.tuning.licence import require_licence
from dermray.vlm.tuning.packing import refusal
from dermray.vlm.tuning.settings import TuneConfig

SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "README.md", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
OURS = "own"  # licence of what our stages trained from nothing
# fp16 overflows in their activations, and the answers are garbage: Gemma 3 was trained in bf16 and is published for it.
NOT_FP16 = ("gemma3", "gemma3n", "paligemma")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Base:
    """It travels to workers, each of which finds the weights by itself."""

    place: str  # what every node understands: directory, s3:// URI, hub id
    name: str  # what people call it, in messages and cards: of a result, the place that the config gives
    revision: str | None  # commit of a hub id, or fingerprint of the directory
    dtype: str = "fp32"

    def small(self) -> Path:
        """A directory here with all but tensors."""
        found = weights.locate_small(self.place, "base")
        if not weights.on_hub(found):
            return Path(found)
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(found, revision=self.revision, allow_patterns=list(SMALL_FILES)))

    def processor(self) -> Any:
        """Tokenizer, image processor and chat template."""
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(self.small())

    def load(self) -> Any:
        """The model with its weights, in `dtype`."""
        from transformers import AutoModelForImageTextToText

        place = weights.locate(self.place, "base", self.revision)
        how = {"revision": self.revision} if weights.on_hub(place) else {}
        return AutoModelForImageTextToText.from_pretrained(place, dtype=DTYPES[self.dtype], **how)

    def empty(self) -> Any:
        """The model with no weights: names and shapes."""
        from transformers import AutoModelForImageTextToText

        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(self.config())

    def config(self) -> Any:
        """transformers' config.

        Raises:
            ValueError: there is none, or of no model that takes images and text.
        """
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

        small = self.small()
        if (small / "adapter_config.json").is_file() and not (small / "config.json").is_file():
            raise ValueError(f"base={self.name}: an adapter, not a model; give it as start_from, and its base as base")
        try:
            config = AutoConfig.from_pretrained(small)
        except (OSError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise ValueError(f"base={self.name}: expected a model directory of transformers ({line})") from None
        if config.model_type not in KNOWN:
            raise ValueError(
                f"base={self.name}: model_type {config.model_type!r}; expected a model of transformers for images and "
                "text, such as llava, mllama, qwen3_vl, gemma3 or smolvlm"
            )
        return config


@dataclass(frozen=True)
class Found:
    """A base, and what was found out about it."""

    base: Base
    licence: str
    inputs: dict[str, Result] = field(default_factory=dict)  # its manifest, if one of our stages made it


def find(config: TuneConfig) -> Found:
    """The base that a config names: a result of the captioner stage (or of a full tuning), a directory, an s3:// URI or
    a hub id. Everything is checked that needs neither weights nor Ray.

    Raises:
        FileNotFoundError, ValueError: it is not there, no model for images and text, without weights, chat template,
            image slot or licence. ConfigError: a precision that it cannot be trained in.
    """
    made, inputs = storage.normalise(config.base), dict[str, Result]()
    if storage.exists(storage.join(made, "manifest.json")):
        result = manifest.read(made)
        if result.manifest.stage not in ("captioner", "tune-vlm"):
            raise ValueError(f"base={config.base}: result of stage {result.manifest.stage!r}; expected captioner")
        place, name, inputs = storage.join(result.data, "model"), config.base, {"base": result}
    else:
        place = name = weights.everywhere(config.base, "base")
    base = Base(place, name, weights.revision_of(place, config.revision), config.dtype)
    kind = base.config().model_type
    if config.loop.precision == "fp16" and kind in NOT_FP16:
        raise ConfigError(f"loop.precision=fp16: {kind} overflows in it and learns nothing; give bf16 or fp32")
    _require_tensors(base)
    processor = base.processor()
    if getattr(processor, "image_processor", None) is None:
        raise ValueError(f"base={config.base}: its processor takes no images; expected preprocessor_config.json there")
    collator = Collator(processor, config.max_length, config.image_side, config.template)
    if config.learn.answers == PAIRS and config.learn.turns == "together":
        collator.check_several_turns()
    if config.packing and (why := refusal(kind)):
        raise ConfigError(why)
    trained = inputs["base"].manifest if inputs else None
    own = OURS if trained and trained.stage == "captioner" else trained and str(trained.metrics["base_licence"])
    licence = config.licence or own or require_licence(base.small(), config.base, None)
    return Found(base, licence, inputs)


def _require_tensors(base: Base) -> None:
    if weights.on_hub(base.place):
        return
    if not any(file.endswith(weights.TENSORS) for file in storage.list_files(base.place)):
        raise FileNotFoundError(f"base={base.name}: no weights there (*.safetensors); expected a whole model directory")
