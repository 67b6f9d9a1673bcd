"""What a sweep is asked for: which images, which arms, which classifiers, and on what they are tested."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from dermray.backbones.networks import Backbone
from dermray.classification.arms import Arm, ArmSettings, arms_of, needed
from dermray.classification.settings import Threshold, TrainingSettings
from dermray.classification.sources import Synthetic
from dermray.classification.targets import BINARY, require_no_classes
from dermray.classification.test_sets import External
from dermray.classification.tuning_settings import TuneSettings
from dermray.classification.zero_shot import ZeroShot
from dermray.config import Config, ConfigError, HowFast
from dermray.result_fields import ResultOf

SEEDS_APART = 1000  # of the sweep's seed: sweeps of neighbouring seeds share no trial
NANO = [Backbone(name="test_resnet", learning_rate=6e-3), Backbone(name="test_efficientnet", learning_rate=1e-2)]


class SweepConfig(Config):
    """Which images, which arms, which classifiers, and on what they are tested."""

    output: str
    rows: Annotated[str, ResultOf("caption", "ingest")] = Field(
        description="result of the caption or ingest stage: the real rows"
    )
    synthetic: Annotated[str, ResultOf("generate", "ingest")] | list[Synthetic] = Field(
        description="result of the generate stage, or several sources by name"
    )
    column: str = Field(BINARY, description="label: malignant (binary), or entity or any other column")
    classes: tuple[str, ...] = Field((), description="of another column, if not all that the train split has")
    arms: ArmSettings = ArmSettings()
    real_images: int | tuple[int, ...] = Field(100, description="the few; several numbers are a grid")
    balanced: bool = Field(False, description="as many training images of every class, as paper 002")
    seeds: int = Field(3, ge=2)
    backbones: list[Backbone] = Field(NANO, min_length=1)
    image_size: int | None = Field(None, ge=8, description="px; default: what each backbone's weights were trained on")
    training: TrainingSettings = TrainingSettings(steps=150, schedule="one_cycle")
    threshold: Threshold = "youden"
    workers_per_trial: int = Field(
        1, ge=1, description="processes that share each batch, by Ray Train, for models that need several GPUs"
    )
    test_sets: list[External] = Field([], description="beside the rows' own test split")
    zero_shot: list[ZeroShot] = Field([], description="models that score the test sets without training")
    max_test_images: int = Field(4000, ge=10, description="of each test set: those with the least ids")
    max_validation_images: int = Field(2000, ge=0)
    keep_models: Literal["served", "all"] = Field("served", description="weights of one trial, or of each")
    resamples: int = Field(500, ge=10)
    seed: int = Field(0, ge=0)
    tune: HowFast[TuneSettings] = TuneSettings()
    extend: HowFast[Annotated[str, ResultOf("sweep")] | None] = Field(
        None, description="an earlier sweep, whose trials among these are not run again"
    )
    pixels: HowFast[str | None] = Field(
        None,
        description="directory or s3:// URI of decoded images that runs share; default: this run's, then removed",
    )

    @field_validator("backbones", "synthetic", "test_sets", "zero_shot")
    @classmethod
    def _told_apart(cls, given: Any) -> Any:
        """Trials are told apart by the names of these."""
        names = [] if isinstance(given, str) else [each.name for each in given]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"expected each name once, got {twice} more than once")
        return given

    @field_validator("real_images")
    @classmethod
    def _ascending(cls, given: int | tuple[int, ...]) -> int | tuple[int, ...]:
        counts = (given,) if isinstance(given, int) else given
        if not counts or min(counts) < 4 or len(set(counts)) < len(counts):
            raise ValueError("expected a number of at least 4, or several different ones")
        return given

    @model_validator(mode="after")
    def _something_synthetic(self) -> Self:
        if isinstance(self.synthetic, list) and not self.synthetic:
            raise ConfigError("synthetic=[]: expected a result, or a list of sources with their names")
        return self

    @model_validator(mode="after")
    def _no_arm_without_images(self) -> Self:
        """A share of a few images rounds to none: the arm would be another one, or train on nothing."""
        few = min(self.real_counts)
        for arm in self.all_arms:
            real, synthetic = needed(arm, few)
            if (arm.real and not real) or (arm.synthetic_ratio and not synthetic):
                share = arm.synthetic_ratio or arm.real
                raise ConfigError(
                    f"arms: {arm.name!r} with {few} real images rounds to no image; give a ratio of at least "
                    f"{1 / few:.2g} (got {share:g}), or more real_images"
                )
        return self

    @model_validator(mode="after")
    def _classes_of_the_column(self) -> Self:
        require_no_classes(self.column, self.classes)
        return self

    def require(self, inputs: Mapping[str, BaseModel]) -> None:
        """Refuse fewer synthetic images than an arm will ask for; raises ConfigError.

        A plan that fills up says how many only when it has seen the rows."""
        for field, config in inputs.items():
            drawn = getattr(config, "images", None) if field.startswith("synthetic") else None  # of an ingest: unknown
            if drawn is not None and drawn < self.synthetic_images:
                raise ConfigError(
                    f"{field}: {drawn} images will be drawn (its count); real_images={max(self.real_counts)} needs "
                    f"{self.synthetic_images} synthetic images or more"
                )

    @property
    def real_counts(self) -> tuple[int, ...]:
        """The numbers of real images."""
        return (self.real_images,) if isinstance(self.real_images, int) else tuple(sorted(self.real_images))

    @property
    def synthetic_images(self) -> int:
        """How many a source must have at least."""
        return max(needed(arm, max(self.real_counts))[1] for arm in self.all_arms)

    @property
    def sources(self) -> list[Synthetic]:
        """The synthetic sources; a single one needs no name."""
        if isinstance(self.synthetic, list):
            return self.synthetic
        return [Synthetic.model_construct(name="", result=self.synthetic, trained_on=None)]

    @property
    def first_seed(self) -> int:
        """Of the first trial; others add their number."""
        return self.seed * SEEDS_APART

    @property
    def all_arms(self) -> list[Arm]:
        """In the order of tables."""
        return arms_of(self.arms, [source.name for source in self.sources])
