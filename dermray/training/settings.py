"""What a training is asked for, and what of it does not go together."""

from typing import Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from dermray.config import Config, ConfigError, HowFast, section
from dermray.generators.base import family
from dermray.train_loop import LoopConfig
from dermray.training.previews import PreviewConfig, check_previews


class TrainConfig(Config):
    """Which rows, which family, how long."""

    output: str
    rows: str = Field(description="result of the caption stage")
    family: str = "pixel_dermdit"
    model: dict[str, Any] = Field({}, description="the family's own config")
    buckets: tuple[int, ...] = Field(
        (),
        description="px; images go to the largest that they fill, and a batch has one size. Default: the model's size",
    )
    small_images: Literal["enlarge", "drop"] = Field(
        "enlarge", description="those with a side shorter than the smallest bucket, or than the model's size"
    )
    flips: bool = Field(True, description="quarter turns and mirroring: lesions have no up")
    encode_ahead: bool = Field(False, description="run frozen encoders once, before training; keeps one orientation")
    cache: HowFast[str | None] = Field(
        None, description="where encoded images are kept for other runs too; default: the output"
    )
    validation_images: int = Field(
        0, ge=0, description="of the val split, whose loss is logged at every checkpoint; at most so many"
    )
    previews: HowFast[PreviewConfig] = PreviewConfig()
    check_memory: HowFast[bool] = Field(
        True, description="forecast what a step takes, and refuse a cluster whose GPUs are all too small for it"
    )
    loop: LoopConfig

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        check(self)
        return self


def check(config: TrainConfig) -> BaseModel:
    """The family's own config, and what does not go together.

    Raises:
        ValueError: unknown family. ConfigError: a wrong model config, or encoding ahead where it cannot be.
    """
    cls = family(config.family)
    settings = section(cls.Config, config.model, "model")
    if config.loop.keep_best and not config.validation_images:
        raise ConfigError("loop.keep_best=true: needs a validation loss; give validation_images=64 or so")
    if config.buckets and not cls.any_size:
        raise ConfigError(f"buckets={list(config.buckets)}: family {config.family} has one image size; leave them out")
    if wrong := [size for size in config.buckets if size < 32 or size % 32]:
        raise ConfigError(f"buckets={list(config.buckets)}: expected multiples of 32 px, got {wrong}")
    check_previews(config.previews, config.family, settings)
    if kind := getattr(settings, "quantization", None):
        if config.loop.parallel == "fsdp":
            raise ConfigError(
                f"model.quantization={kind}: FSDP cannot shard weights of so few bits; give loop.parallel=ddp, whose "
                "workers each hold the small base, or leave quantization out"
            )
        from dermray.generators import quantization

        quantization.check(kind, settings.base, config.loop.gpus_per_worker)  # type: ignore[attr-defined]  # has both
    if config.encode_ahead and config.flips:
        raise ConfigError(
            "encode_ahead=true keeps each image in one orientation: give flips=false too, or encode_ahead=false"
        )
    if config.encode_ahead and not cls.frozen_encoder:
        raise ConfigError(f"encode_ahead=true: family {config.family} has no frozen encoder; leave it out")
    return settings
