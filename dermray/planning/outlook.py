"""What the inputs of a planned stage will hold: those of the same plan, and results that are there already."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc
from pydantic import BaseModel

from dermray import manifest, storage
from dermray.config import validate
from dermray.planning.figure import Figure, assumed, measured, unknown
from dermray.planning.licences import Licence
from dermray.records import SPLITS, count_rows

WITH_ROWS = ("ingest", "caption", "instruct", "generate", "predict")  # results that have rows of images


@dataclass(frozen=True)
class Rows:
    """Usable rows of a result, all and by split."""

    total: Figure
    train: Figure
    val: Figure
    test: Figure

    @classmethod
    def all_alike(cls, figure: Figure) -> "Rows":
        """Nothing tells splits apart, so each may have all."""
        return cls(figure, figure, figure, figure)


@dataclass(frozen=True)
class Outlook:
    """A result that is there or will be.

    Args:
        config: of the stage that makes it; None where a result that is there was made by another version.
    """

    stage: str
    config: Any
    rows: Rows | None
    licences: tuple[Licence, ...] = ()


@dataclass
class Results:
    """By place.

    Args:
        planned: filled in as stages are planned. given: rows that somebody said, for results of which nothing is known.
    """

    planned: dict[str, Outlook] = field(default_factory=dict)
    given: int | None = None

    def of(self, place: str) -> Outlook | None:
        """What a place holds or will; None where nothing is known of it."""
        uri = storage.normalise(place)
        if uri in self.planned:
            return self.planned[uri]
        if storage.is_s3(uri) or storage.exists(storage.join(uri, "manifest.json")):
            try:
                return _there(manifest.read(uri))
            except FileNotFoundError:
                return None
        return None

    def rows(self, place: str) -> Rows:
        """Of a result with rows."""
        known = self.of(place)
        if known is not None and known.rows is not None:
            return known.rows
        if self.given is not None:
            return Rows.all_alike(assumed(self.given, "--rows"))
        return Rows.all_alike(unknown(f"{place}: no result is there, nor planned here; plan the run, or give --rows"))


def _there(result: manifest.Result) -> Outlook:
    made = result.manifest
    licences = tuple(Licence.of_images(result.uri, word) for word in made.licences)
    return Outlook(made.stage, _config(result), _rows(result) if made.stage in WITH_ROWS else None, licences)


def _rows(result: manifest.Result) -> Rows:
    why = f"counted in {result.uri}"
    rows, usable = result.row_files(), pc.field("status") == "ok"
    total = measured(result.manifest.rows.ok, why)
    if result.manifest.stage == "generate":
        return Rows.all_alike(total)
    of = {split: measured(count_rows(rows, usable & (pc.field("split") == split)), why) for split in SPLITS}
    return Rows(total, of["train"], of["val"], of["test"])


def _config(result: manifest.Result) -> BaseModel | None:
    """What made it, without its inputs' places, which a manifest does not keep."""
    from dermray.pipeline import COMMANDS, command

    if result.manifest.stage not in COMMANDS:
        return None
    places: Mapping[str, Any] = dict.fromkeys(result.manifest.inputs, "-")
    try:
        cls = command(result.manifest.stage)[0]
        known = {name: place for name, place in places.items() if name in cls.model_fields}
        return validate(cls, {"output": result.uri} | known | result.manifest.config)
    except ValueError:
        return None  # of another version, whose fields are no longer these
