"""The numbers that the papers print, each with the place where it stands: `tables/` holds a file a paper.

A number is kept as it is printed, "0.070" or "78.04%": a reader finds it in the paper, and its rounding is known.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from dermray.config import Config, ConfigError, load
from dermray.papers.setting import Setting

TABLES = Path(__file__).parent / "tables"
PAPERS = ("glide_ham10000", "dermdit", "dermaflux", "dermasynth")  # in the order of their numbers, 000 to 003
UNREAD = "."  # in a row of printed numbers: one that the paper has and nobody read
NUMBER = re.compile(r"([+-]?\d[\d,]*(?:\.\d+)?)(%|k|M|)")
TIMES = {"": Decimal(1), "%": Decimal("0.01"), "k": Decimal(1_000), "M": Decimal(1_000_000)}


class Part(Config):
    """What a whole table, one of its columns or one of its rows says of its numbers."""

    labels: dict[str, str] = Field({}, description="what tells these numbers from others, in words")
    ours: dict[str, str] = Field({}, description="where our results hold them: see `Measured.where`; a|b is either")
    setting: Setting = Setting()
    never: str | None = Field(None, description="why they can be compared with nobody's")
    no_stage: str | None = Field(None, description="why none of our stages writes them")
    note: str | None = Field(None, description="what is odd about them")


class Row(Part):
    """Numbers that stand beside one another, one a column, parted by spaces; UNREAD for what could not be read."""

    printed: str
    unit: Literal["%"] | None = Field(None, description="that the paper prints once for several numbers")
    words: tuple[str, ...] = Field((), description="of the line or sentence that says so, by which it is found")
    read_at: str | None = Field(None, description="section or table in which they were read, if not the table's own")


class Table(Part):
    """A table or figure of a paper, or the sentences that give some of its numbers."""

    name: str = Field(description="as the paper calls it")
    about: str
    read_at: str = Field(description="section or table of the paper in which its numbers were read")
    unread: str | None = Field(None, description="why some numbers could not be read")
    columns: tuple[Part, ...] = Field((Part(),), min_length=1)
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for number, row in enumerate(self.rows):
            cells = row.printed.split()
            if len(cells) != len(self.columns):
                raise ConfigError(
                    f"rows.{number}.printed={row.printed!r}: {len(cells)} numbers for {len(self.columns)} columns of "
                    f"{self.name}; write {UNREAD} for one that was not read"
                )
            if wrong := [text for text in cells if text != UNREAD and not NUMBER.fullmatch(text)]:
                raise ConfigError(
                    f"rows.{number}.printed: {wrong[0]!r}: expected a number such as 0.070, 64% or 11,120"
                )
            if UNREAD in cells and self.unread is None:
                raise ConfigError(f"rows.{number}.printed: a number of {self.name} was not read; say why in `unread`")
            parts: tuple[Part, ...] = (self, row, *self.columns)
            if not any(part.no_stage or part.ours for part in parts):
                raise ConfigError(f"rows.{number}: nothing tells where ours are; give `ours`, or `no_stage` and why")
        return self


class Paper(Config):
    """What is known of one paper."""

    paper: str
    number: str = Field(description="000 to 003: as docs/papers has it")
    title: str
    tables: tuple[Table, ...] = Field(min_length=1)

    def cells(self) -> list["Cell"]:
        """Every number, row by row.

        Raises:
            ConfigError: two of them have the same table and labels.
        """
        cells = [cell for table in self.tables for cell in _cells(table)]
        seen = set[tuple[str, ...]]()
        for cell in cells:
            if cell.key in seen:
                raise ConfigError(f"{self.paper}: two numbers are {', '.join(cell.key)}; give them different labels")
            seen.add(cell.key)
        return cells


@dataclass(frozen=True)
class Cell:
    """One number of a paper."""

    table: str
    read_at: str
    labels: dict[str, str]
    printed: str | None  # None: in the paper, and not read
    unit: str
    unread: str | None
    words: tuple[str, ...]
    ours: dict[str, str]
    setting: Setting
    never: str | None
    no_stage: str | None
    note: str | None

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from all others of the paper."""
        return self.table, *(f"{name}: {value}" for name, value in self.labels.items())

    @property
    def text(self) -> str | None:
        """As the paper prints it, with its unit."""
        return None if self.printed is None else self.printed + self.unit

    @property
    def value(self) -> float | None:
        """As a plain number: 64% is 0.64, 612M is 612,000,000."""
        return None if self.text is None else float(_scaled(self.text, "digits"))

    @property
    def rounding(self) -> float | None:
        """Half a unit of the last printed place: what was measured lies within it."""
        return None if self.text is None else float(_scaled(self.text, "place")) / 2


def _scaled(printed: str, what: str) -> Decimal:
    """The number itself, or one unit of its last place."""
    match = NUMBER.fullmatch(printed)
    assert match is not None  # `Table` has checked it
    digits = Decimal(match[1].replace(",", ""))
    exponent = digits.as_tuple().exponent
    assert isinstance(exponent, int)
    return (digits if what == "digits" else Decimal(1).scaleb(exponent)) * TIMES[match[2]]


def _cells(table: Table) -> Iterator[Cell]:
    for row in table.rows:
        for column, printed in zip(table.columns, row.printed.split(), strict=True):
            parts: tuple[Part, ...] = (table, column, row)
            setting = Setting()
            for part in parts:
                setting = part.setting.over(setting)
            yield Cell(
                table=table.name,
                read_at=row.read_at or table.read_at,
                labels=table.labels | row.labels | column.labels,
                printed=None if printed == UNREAD else printed,
                unit=row.unit or "",
                unread=table.unread if printed == UNREAD else None,
                words=row.words,
                ours=table.ours | column.ours | row.ours,
                setting=setting,
                never=_joined(part.never for part in parts),
                no_stage=_joined(part.no_stage for part in parts),
                note=_joined(part.note for part in parts),
            )


def _joined(texts: Iterator[str | None]) -> str | None:
    return "; ".join(text for text in texts if text) or None


def read(paper: str) -> Paper:
    """By its name.

    Raises:
        ConfigError: no such paper.
    """
    if paper not in PAPERS:
        raise ConfigError(f"paper {paper!r}: expected one of {', '.join(PAPERS)}")
    return load(Paper, TABLES / f"{paper}.yaml")
