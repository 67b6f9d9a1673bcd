"""What a reader study is built of, and what it is analysed by."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dermray.classification.targets import BINARY, COLUMNS, Target
from dermray.config import Config, ConfigError
from dermray.records import ALLOWED, ENTITIES
from dermray.result_fields import ResultOf


class BuildConfig(Config):
    """Which images, how many, how they look. The defaults are paper 000's (section 2.3): 140 images of 256 px."""

    output: str
    rows: Annotated[str, ResultOf("ingest", "caption")] = Field(
        description="result of the ingest or caption stage: the originals"
    )
    synthetic: Annotated[str, ResultOf("generate")] = Field(description="result of the generate stage")
    column: str = Field("entity", description="what readers are asked to name")
    classes: tuple[str, ...] = Field((), description="of that column; the seven entities where it is entity")
    originals_per_class: int = Field(10, ge=1)
    synthetic_per_class: int = Field(10, ge=1)
    # A generator may have learned a training image by heart. Beside it an original would be no other image, and a
    # classifier that is compared with the readers has learned from it too.
    split: Literal["train", "val", "test"] = Field("test", description="of the originals; train was seen in training")
    one_per_prompt: bool = Field(True, description="no two AI images of one caption; false where captions are few")
    side: int = Field(256, ge=32, le=1024, description="px of every image")
    excel: bool = Field(True, description="the answer form as a workbook too; needs dermray[reader-study]")
    zipped: bool = Field(True, description="what readers get as one file too")
    title: str = "Reader study"
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        if self.column == "origin" or self.column not in COLUMNS:
            others = ", ".join(name for name in COLUMNS if name != "origin")
            raise ConfigError(f"column={self.column}: no column that readers can name; expected one of {others}")
        self.target()
        return self

    def target(self) -> Target:
        """The column and its classes.

        Raises:
            ConfigError: no classes are known, or they are fewer than two.
        """
        known = ENTITIES if self.column == "entity" else ALLOWED.get(self.column, ())
        classes = self.classes or known
        if self.column == BINARY and self.classes:
            raise ConfigError(f"classes={[*self.classes]}: column={BINARY} has its own; leave them out")
        if self.column != BINARY and not classes:
            raise ConfigError(f"classes: missing; name those of column={self.column} that readers choose from")
        try:
            return Target.of(self.column, classes=classes)
        except ValueError as error:
            raise ConfigError(str(error)) from None


class AnalyseConfig(Config):
    """Whose answers to which study."""

    output: str
    study: Annotated[str, ResultOf("reader-study build")] = Field(description="result of `reader-study build`")
    answers: list[str] = Field(min_length=1, description="one file a reader, CSV or Excel, named after the reader")
    unanswered: Literal["refuse", "leave_out"] = Field(
        "refuse", description="leave_out: figures are of the answered images, and those left out are counted"
    )
    classifiers: list[Annotated[str, ResultOf("classify", "sweep", "predict")]] = Field(
        [], description="results of classify or sweep, which score the images that readers saw; or of predict"
    )
    resamples: int = Field(2000, ge=100, description="of the bootstrap over images")
    seed: int = Field(0, ge=0)

    @field_validator("answers", "classifiers")
    @classmethod
    def _each_once(cls, files: list[str]) -> list[str]:
        if len(set(files)) < len(files):
            raise ValueError("expected each file once")
        return files
