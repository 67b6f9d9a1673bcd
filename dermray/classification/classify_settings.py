"""What one classifier is trained on, and how."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from dermray.backbones.networks import Backbone
from dermray.classification.settings import Augmentation, Threshold, TrainingSettings
from dermray.classification.targets import require_no_classes
from dermray.config import Config, ConfigError, HowFast
from dermray.datasets.licences import CommercialUse
from dermray.result_fields import ResultOf


class SearchSettings(Config):
    """Over what to search, by the lowest validation loss."""

    trials: int = Field(16, ge=2)
    learning_rate: tuple[float, float] = Field((1e-5, 1e-2), description="drawn between these on a logarithmic scale")
    augmentation: tuple[Augmentation, ...] = Field(("flips", "standard"), min_length=1)
    concurrent: HowFast[int] = Field(2, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.learning_rate
        if not 0 < low < high:
            raise ConfigError(f"learning_rate={list(self.learning_rate)}: expected [lowest, highest] above 0")
        return self


class ClassifyConfig(CommercialUse):
    """What to learn from which images, and how."""

    output: str
    rows: Annotated[str, ResultOf("ingest", "caption")] = Field(
        description="result of the ingest or caption stage: train, val and test images"
    )
    synthetic: Annotated[str, ResultOf("generate")] | None = Field(
        None, description="result of the generate stage, whose images are trained on too"
    )
    column: str = Field("malignant", description="label: malignant (binary), or entity or any other column")
    classes: tuple[str, ...] = Field((), description="of another column, if not all that the train split has")
    backbone: Backbone
    training: TrainingSettings
    threshold: Threshold = Field(
        "youden",
        description="of the probability from which predict and the service call an image malignant; youden: that of "
        "the largest sensitivity + specificity - 1 on the validation images; this stage's own metrics are at 0.5",
    )
    search: SearchSettings | None = Field(None, description="try learning rates and augmentations before: --search")
    image_size: int | None = Field(None, ge=8, description="px; default: what the backbone's weights were trained on")
    pixels: HowFast[str | None] = Field(
        None,
        description="directory or s3:// URI of decoded images that runs share; default: this run's, removed after it",
    )
    workers: int = Field(1, ge=1, description="processes that share each batch, for models that need several GPUs")
    cpus: HowFast[float] = Field(1, gt=0, description="of each worker")
    gpus: HowFast[float] = Field(0, ge=0, description="of each worker")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _classes_of_the_column(self) -> Self:
        require_no_classes(self.column, self.classes)
        return self
