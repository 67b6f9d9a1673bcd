"""What leaves, in which form, and who has the right to hand it on."""

from typing import Literal

from pydantic import Field, field_validator

from dermray.config import Config, HowFast
from dermray.records import IMAGES, SYNTHETIC
from dermray.where import AGE_BAND, Where, check

ALWAYS = ("image", "sample_id")
# Every exported row is ok, its split is where it lies, and an issue quotes a cell of a file of the ingesting machine.
NEVER = ("status", "reason", "split", "cell_issues")
COLUMNS = [name for name in SYNTHETIC.names if name not in NEVER]
STAGES = ("ingest", "caption", "instruct", "generate")
Format = Literal["parquet", "imagefolder", "webdataset", "hf", "llava", "sharegpt"]
SPOKEN = ("hf", "llava", "sharegpt")  # formats of conversations


class PublishConfig(Config):
    """Which rows of a result leave, to where, as what."""

    result: str = Field(description="result of the ingest, caption, instruct or generate stage")
    output: str = Field(description="new directory or s3:// URI")
    format: Format = "parquet"
    name: str | None = Field(None, description="title of the data card; the directory's name if none")
    where: Where = Field({}, description="only these rows, such as {skin_tone: [C]}")
    columns: list[str] | None = Field(None, description="only these, beside image and sample_id")
    without: list[str] = Field([], description="columns that stay here, such as [patient_id]")
    keep_ids: bool = Field(
        False,
        description="patient, lesion and file names of data of your own, which else stay here: see docs/export.md",
    )
    permitted: list[str] = Field(
        [], description="licences, or `unknown`, under which you have the right to hand these images on"
    )
    leave_out_forbidden: bool = Field(False, description="leave out rows whose licence does not let them be handed on")
    ingest: str | None = Field(None, description="the ingest result behind captions: the card then tells how it split")
    shard_mb: int = Field(500, ge=1, description="megabytes of images in a file or folder, about")
    threads: HowFast[int] = Field(
        8, ge=1, le=64, description="images that a task writes at once (imagefolder, llava, sharegpt)"
    )

    @field_validator("where")
    @classmethod
    def _known(cls, where: Where) -> Where:
        return check(where, [*IMAGES.names, AGE_BAND])

    @field_validator("columns", "without")
    @classmethod
    def _may_leave(cls, columns: list[str] | None) -> list[str] | None:
        if unknown := sorted(set(columns or ()) - set(COLUMNS)):
            raise ValueError(f"no columns that can be exported: {unknown}; expected some of {', '.join(COLUMNS)}")
        return columns

    @field_validator("without")
    @classmethod
    def _needed(cls, without: list[str]) -> list[str]:
        if needed := sorted(set(without) & set(ALWAYS)):
            raise ValueError(f"{needed}: every exported row has these")
        return without
