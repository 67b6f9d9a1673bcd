"""How a classifier is trained. Apart from what trains it, which takes seconds to import."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from dermray.config import Config, ConfigError, HowFast

Augmentation = Literal["none", "flips", "paper_000", "standard"]
Threshold = Annotated[
    Literal["youden", "0.5"],
    BeforeValidator(str),  # YAML reads the second as a number
    Field(
        description="of the probability from which an image is called malignant; youden: that of the largest "
        "sensitivity + specificity - 1 on the validation images"
    ),
]
ROUNDS = 10  # that a training of so many steps is parted into


class TrainingSettings(Config):
    """Length, batches, learning-rate schedule, what is kept, balance, augmentation, precision."""

    epochs: int | None = Field(None, ge=1, description="passes over the training images")
    steps: int | None = Field(
        None, ge=1, description="optimizer steps whatever the number of images; a tenth of them counts as an epoch"
    )
    batch_size: int = Field(32, ge=2)
    schedule: Literal["cosine", "one_cycle", "constant"] = Field(
        "cosine", description="cosine: from the learning rate to 0; one_cycle: up to it in a quarter, then down"
    )
    weight_decay: float = Field(0.05, ge=0)
    patience: int | None = Field(None, ge=1, description="stop after so many epochs without a lower validation loss")
    keep: Literal["best", "last"] = Field("last", description="best: the weights of the lowest validation loss")
    balance: Literal["none", "class_weights", "sampling"] = Field(
        "none", description="class_weights: every class weighs the same in the loss; sampling: is drawn equally often"
    )
    augmentation: Augmentation = "flips"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: HowFast[bool] = False
    loaders: HowFast[int] = Field(0, ge=0, description="processes beside the training one that prepare its batches")
    save_seconds: HowFast[float] = Field(60, ge=0, description="least time between two states kept to go on from")

    @model_validator(mode="after")
    def _as_long_as_one_says(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ConfigError(f"steps={self.steps}: give epochs or steps, not both or neither; null leaves one out")
        return self

    @property
    def needs_validation(self) -> bool:
        """Whether it cannot be done without validation images."""
        return self.patience is not None or self.keep == "best"

    def rounds(self, images: int) -> list[int]:
        """Steps of each epoch of a training on so many images."""
        if self.epochs is not None:
            return [-(-images // self.batch_size)] * self.epochs
        assert self.steps is not None
        ends = [self.steps * (i + 1) // ROUNDS for i in range(ROUNDS)] if self.steps >= ROUNDS else [self.steps]
        return [end - start for start, end in zip([0, *ends], ends, strict=False)]
