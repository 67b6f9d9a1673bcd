"""What an evaluation may be told. Apart from what measures, which takes seconds to import."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dermray.config import Config, ConfigError, HowFast
from dermray.features.settings import ExtractorConfig
from dermray.result_fields import ResultOf

Attribute = Literal["entity", "label", "skin_tone", "age_band", "sex", "site"]
Pairing = Literal["prompt", "nearest", "random"]
Real = Literal["held_out", "train", "all"]


class EvaluationConfig(Config):
    """What to compare, in which features, and how the judge is trained."""

    output: str
    rows: Annotated[str, ResultOf("caption")] = Field(description="result of the caption stage: the real rows")
    synthetic: Annotated[str, ResultOf("generate")] | dict[str, Annotated[str, ResultOf("generate")]] = Field(
        description="result of the generate stage; or several by name, which become the rows of one table"
    )
    real: Real = Field(
        "held_out",
        description="real images that synthetic ones are compared with: held_out: of the val and test split, which no "
        "generator saw; train: as papers often do, which a copying generator wins; all: both",
    )
    image_size: int | None = Field(
        None,
        ge=16,
        description="px, at which real and synthetic images are compared. Default: of the smallest synthetic",
    )
    extractors: tuple[ExtractorConfig, ...] = Field((ExtractorConfig(),), min_length=1)
    groups: tuple[Attribute, ...] = Field(("entity", "label", "skin_tone"), description="also measured one by one")
    min_images: int = Field(
        20,
        ge=4,
        description="a side: with fewer no distance is computed, and it is said. Far more are wanted: see docs",
    )
    pairing: tuple[Pairing, ...] = Field(
        ("prompt", "nearest", "random"),
        description="whom a synthetic image is compared with, pixel by pixel: the real image whose caption was its "
        "prompt, its nearest training image, a random compared real one of its entity (or label)",
    )
    diversity_within: Literal["label", "entity"] = Field("label", description="classes that MS-SSIM draws pairs in")
    pairs: int = Field(200, ge=1, description="for MS-SSIM")
    judge_phantoms: int = Field(4000, ge=100, description="fresh phantoms that the judge of phantoms learns from")
    judge_steps: int = Field(500, ge=10)
    max_images: int = Field(
        2000,
        ge=10,
        description="of each kind, the first by id, where images or their distances are held together: judge, pairs, "
        "MS-SSIM, CLIP score, kernel distance, precision and recall. Frechet distance and Inception score take all",
    )
    plot_images: int = Field(1000, ge=10, description="of each kind, in density and PCA plots")
    clip: str | None = Field(None, description="directory, s3:// URI or hub id of a CLIP that scores images by prompts")
    clip_revision: str | None = Field(None, description="of a hub id")
    actors: HowFast[int] = Field(1, ge=1, description="that hold the extractors")
    cpus_per_actor: HowFast[float] = Field(1, gt=0)
    gpus_per_actor: HowFast[float] = Field(0, ge=0)
    batch_size: HowFast[int] = Field(128, ge=1, description="images per block: what a crash costs")
    cpus: HowFast[float] = Field(2, gt=0, description="of the judge's training, and of each task that measures")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _once(self) -> Self:
        for name in ("extractors", "groups", "pairing"):
            items = getattr(self, name)
            if len(set(map(str, items))) < len(items):
                raise ConfigError(f"{name}: the same twice; expected each once")
        if self.synthetic == {}:
            raise ConfigError("synthetic: expected at least one result of the generate stage")
        return self
