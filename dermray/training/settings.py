"""What a training is asked for, and what of it does not go together."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from dermray.config import ConfigError, HowFast, section
from dermray.datasets.licences import CommercialUse
from dermray.generators.base import Generator, family
from dermray.result_fields import ResultOf
from dermray.train_loop import LoopConfig
from dermray.training.aspects import AspectConfig, check_aspects
from dermray.training.previews import PreviewConfig, check_previews

SIDES = 32  # px, that a U-Net halves and doubles without a rest


class TrainConfig(CommercialUse):
    """Which rows, which family, how long."""

    output: str
    rows: Annotated[str, ResultOf("caption")] = Field(description="result of the caption stage")
    # what they hold is in the result's key, where they lie is not
    captions: HowFast[tuple[Annotated[str, ResultOf("caption")], ...]] = Field(
        (), description="further caption results of the same images: an epoch shows one caption of each image"
    )
    answers_apart: bool = Field(
        False, description="prompt set clinical-qa: each answer is a caption of its own, and an epoch shows one"
    )
    family: str = "pixel_dermdit"
    model: dict[str, Any] = Field({}, description="the family's own config")
    buckets: tuple[int, ...] = Field(
        (),
        description="px; images go to the largest that they fill, and a batch has one size. Default: the model's size",
    )
    aspects: AspectConfig | None = Field(
        None, description="images keep their shape, of about the area of a bucket or of the model's size"
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
    if len({config.rows, *config.captions}) <= len(config.captions):
        raise ConfigError(f"captions={list(config.captions)}: one is given twice, or is rows; give each once")
    _check_shapes(config, cls, settings)
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


def _check_shapes(config: TrainConfig, cls: type[Generator], settings: BaseModel) -> None:
    if config.aspects is None:
        return
    if not cls.any_size:
        raise ConfigError(f"aspects: family {config.family} draws one square size; leave it out")
    if config.small_images == "drop":
        raise ConfigError(
            "small_images=drop: with aspects a size has many shapes, and an image is enlarged to its own; give "
            "small_images=enlarge: how many are is in the manifest"
        )
    size: int = settings.image_size  # type: ignore[attr-defined]  # every family's config has one
    check_aspects(list(config.buckets) or [size], config.aspects, getattr(cls, "patch", SIDES))
