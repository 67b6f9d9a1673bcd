"""Where synthetic images come from, and what their generators saw."""

from typing import Annotated

from pydantic import Field, field_validator

from dermray import manifest
from dermray.config import Config, HowFast
from dermray.manifest import Result
from dermray.result_fields import ResultOf

UNKNOWN = "unknown"  # what a generator saw, where nobody can say


class Synthetic(Config):
    """One of several synthetic sources."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]*$", description="in arms' names and tables")
    result: HowFast[Annotated[str, ResultOf("generate", "ingest")]] = Field(
        description="result of the generate stage, or of ingest: images that others drew"
    )
    trained_on: HowFast[Annotated[str, ResultOf("ingest", "caption")] | None] = Field(
        None,
        description="result of ingest or caption with what its generator saw, where that is not the sweep's rows; or "
        "unknown, for images that others drew",
    )

    @field_validator("name")
    @classmethod
    def _not_a_ratio(cls, name: str) -> str:
        if name == "real":
            raise ValueError("expected a name of synthetic images, got that of the real ones")
        return name


class Source:
    """A synthetic source that was found, with the rows that its generator saw."""

    def __init__(self, given: Synthetic, rows: Result) -> None:
        """Raises ValueError where nothing tells what the generator saw; FileNotFoundError."""
        self.name, self.result = given.name, manifest.read(given.result)
        stage, self.seen, self.unknown = self.result.manifest.stage, None, given.trained_on == UNKNOWN
        if stage not in ("generate", "ingest"):
            raise ValueError(f"{given.result}: result of stage {stage!r}, expected one of 'generate' or 'ingest'")
        if given.trained_on and not self.unknown:
            self.seen = read_rows(given.trained_on)
        drawn_from = self.result.manifest.inputs.get("rows")
        if drawn_from == rows.manifest.key:
            self.seen, self.unknown = None, False
            return
        if drawn_from is None and not given.trained_on:
            raise ValueError(
                f"{given.result}: nothing tells what the generator of these images saw, and test images may be among "
                f"it; give synthetic=[{{name: ..., result: {given.result}, trained_on: ...}}] with an ingest result of "
                "what it saw, or with unknown, which the result then says"
            )
        if drawn_from is not None and (self.seen is None or self.seen.manifest.key != drawn_from):
            got = (
                f"trained_on={given.trained_on} is another"
                if given.trained_on
                else "and its test split is not this one"
            )
            raise ValueError(
                f"{given.result}: drawn by a generator of other rows (key {drawn_from}), {got}; give the result with "
                "that key as trained_on, so that what it saw is kept out of the test sets"
            )

    @property
    def of_others(self) -> bool:
        """Whether others drew the images, so that no gate of dermray's looked for copies among them."""
        return self.result.manifest.stage == "ingest"

    @property
    def saw(self) -> tuple[str, ...]:
        """Splits of `seen` that count: of a generator of dermray's train alone; none for all, of another one."""
        return ("train",) if self.result.manifest.stage == "generate" else ()


def read_rows(uri: str) -> Result:
    """A result with real rows.

    Raises:
        FileNotFoundError, ValueError: there is none, or of another stage.
    """
    found = manifest.read(uri)
    if found.manifest.stage not in ("ingest", "caption"):
        raise ValueError(f"{uri}: result of stage {found.manifest.stage!r}, expected one of 'ingest' or 'caption'")
    return found
