"""Lists of images that show the same lesion, as publishers and users know them: each line joins its rows' leak groups.

A line names two images or more, by what the rows' `source_id` says, with or without folders and extension. Of a name
with folders those count that the row has too: `train/a.jpg` is a row `a` or `data/train/a`, and no row `test/a`.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from dermray import storage
from dermray.config import Config, ConfigError
from dermray.datasets import tables
from dermray.datasets.image_names import IMAGE_SUFFIXES

ENDING = rf"(?i)({'|'.join(map(re.escape, IMAGE_SUFFIXES))})$"
NUMBERED = re.compile(r"(.*?)[ _-]?\d{1,2}")  # image_name_1, image_name_2, ...
A_NAME = re.compile(rf"\d{{4}}|{ENDING.removeprefix('(?i)')}", re.IGNORECASE)  # what a column's name does not hold
EXAMPLES = 3


class KnownDuplicates(Config):
    """A list of them: a table as text, local or S3, or pairs in the config itself."""

    path: str | None = Field(None, description="table with a header, two or more columns of which name images")
    columns: list[str] | None = Field(
        None, min_length=2, description="those; without them two columns, or the numbered ones: image_1, image_2, ..."
    )
    pairs: list[list[str]] | None = Field(None, min_length=1, description="instead of a table: [[a, b], [c, d, e]]")
    source: str | None = Field(None, description="name only rows of this source, as their `source` has it")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: Any) -> Any:
        return {"path": given} if isinstance(given, str) else {"pairs": [given]} if isinstance(given, list) else given

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.path is None) == (self.pairs is None):
            raise ConfigError(f"path={self.path}: expected either the path of a table, or pairs")
        if short := [pair for pair in self.pairs or [] if len(set(pair)) < 2]:
            raise ConfigError(f"pairs={short[0]}: expected two names or more, which are not the same")
        if self.pairs is not None and self.columns is not None:
            raise ConfigError(f"columns={self.columns}: only a table has columns; leave them out")
        return self

    @property
    def called(self) -> str:
        """In messages."""
        return self.path or "pairs in the config"


class Joined(NamedTuple):
    """What the lists join."""

    links: np.ndarray  # (M, 2) int64 rows
    facts: list[dict[str, Any]]  # of each list


def check(known: Sequence[KnownDuplicates]) -> None:
    """Read every list, before anything expensive.

    Raises:
        FileNotFoundError: a table that is not there. ValueError: one without such columns, or whose lines make no pair.
    """
    for each in known:
        if not any(len(names) > 1 for names in _lines(each)):
            raise ValueError(f"{each.called}: no line names two images; expected a list of pairs")


def joined(known: Sequence[KnownDuplicates], table: pa.Table) -> Joined:
    """Links between rows that the lists name together.

    Args:
        table: with `source` and `source_id`.
    """
    links, facts = list[tuple[int, int]](), list[dict[str, Any]]()
    for each in known:
        lines = [sorted(names) for names in _lines(each)]
        rows = _rows({name for names in lines for name in names}, each.source, table)
        found, unknown, linked = [[rows.get(name, []) for name in names] for names in lines], list[str](), 0
        for names, places in zip(lines, found, strict=True):
            unknown += [name for name, of_name in zip(names, places, strict=True) if not of_name]
            linked += sum(map(bool, places)) > 1
            together = [row for of_name in places for row in of_name]
            links += pairwise(together)
        facts.append({"list": each.called, "lines": len(lines), "lines_that_join": linked,
                      "names_without_row": len(unknown), "examples": unknown[:EXAMPLES]})  # fmt: skip
    return Joined(np.array(links, np.int64).reshape(-1, 2), facts)


def messages(facts: list[dict[str, Any]]) -> list[str]:
    """What the user should know of the lists."""
    told = []
    for each in facts:
        text = f"{each['list']}: {each['lines_that_join']} of {each['lines']} lines of known duplicates join rows"
        if each["names_without_row"]:
            text += f"; {each['names_without_row']} names are no row's, such as {', '.join(each['examples'])}"
        if not each["lines_that_join"]:
            text += ": do its names fit the rows' source_id, and `source` theirs?"
        told.append(f"warning: {text}" if each["names_without_row"] or not each["lines_that_join"] else text)
    return told


def _lines(known: KnownDuplicates) -> Iterator[set[str]]:
    """The names of each line, without extension. ValueError for a line that cannot be read."""
    if known.pairs is not None:
        yield from ({_plain(name) for name in names} for names in known.pairs)
        return
    path = storage.normalise(str(known.path))
    if not storage.exists(path) or storage.is_directory(path):
        raise FileNotFoundError(f"{path}: no such list of known duplicates; check known_duplicates, or leave it out")
    columns = known.columns or _name_columns(tables.open_table(path, []))
    found = tables.survey(tables.open_table(path, columns))
    for record in (record for chunk in found.chunks for record in tables.records(found.table, chunk)):
        if record.problem:
            raise ValueError(f"{path}: {record.problem}")
        yield {_plain(name.strip()) for name in found.table.values(record).values() if name.strip()}


def _name_columns(table: tables.Table) -> list[str]:
    """The columns that must be those of the names."""
    columns = [name for name in table.columns if name]
    if data := [name for name in columns if A_NAME.search(name)]:
        raise ValueError(f"{table.path}: its first line holds {data[0]!r}; expected a header, image_1,image_2 say")
    stems = [found and found[1].lower() for found in map(NUMBERED.fullmatch, columns)]
    for stem in stems:
        if stem and stems.count(stem) > 1:
            return [name for name, own in zip(columns, stems, strict=True) if own == stem]
    if len(columns) != 2:
        raise ValueError(f"{table.path}: has the columns {columns}; name two or more with `columns`")
    return columns


def _plain(name: str) -> str:
    return re.sub(ENDING, "", name.replace("\\", "/").removeprefix("./"))


def _rows(names: set[str], source: str | None, table: pa.Table) -> dict[str, list[int]]:
    """The rows that each name means. Python sees only those of which the last part is some name's."""
    by_last: dict[str, list[str]] = {}
    for name in names:
        by_last.setdefault(PurePosixPath(name).name, []).append(name)
    ids = pc.replace_substring(table["source_id"].combine_chunks(), "\\", "/")
    ids = pc.replace_substring_regex(ids, ENDING, "")
    wanted = pc.is_in(pc.replace_substring_regex(ids, ".*/", ""), value_set=pa.array(list(by_last), pa.string()))
    if source is not None:
        wanted = pc.and_(wanted, pc.equal(table["source"].combine_chunks(), source))
    rows: dict[str, list[int]] = {}
    for row in np.flatnonzero(np.asarray(wanted.fill_null(False))).tolist():
        own = PurePosixPath(ids[row].as_py()).parts
        for name in by_last.get(own[-1] if own else "", ()):
            given = PurePosixPath(name).parts
            both = min(len(own), len(given))
            if own[-both:] == given[-both:]:
                rows.setdefault(name, []).append(row)
    return rows
