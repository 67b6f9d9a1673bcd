"""A comparison as a block of a report, as text, and as CSV; a paper's numbers as Markdown."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from dermray import pages
from dermray.papers.comparison import Row
from dermray.papers.differences import Scale
from dermray.papers.published import Cell, Paper, Table
from dermray.papers.setting import Setting
from dermray.papers.stages.sweep import ONLY

BLOCK, PAGE = (Path(__file__).parent / name for name in ("comparison.html", "page.html"))
COLUMNS = ("paper", "table", "read_at", "what", "published", "published_value", "rounding", "published_images",
           "published_of_real", "stage", "ours_is", "ours", "low", "high", "floor", "our_images", "our_of_real",
           "comparable", "inside", "not_comparable_because", "note")  # fmt: skip
UNTOLD = "n/a"
# Of `Measured.where`, what tells several of ours that stand beside one number apart.
APART = ("instance", "reader", "source", "role", "ratio", "real_images", "backbone", "rule", "captioner", "split")


@dataclass(frozen=True)
class Section:
    """The rows of one table, and by number and letter why they cannot be compared and what is odd about them."""

    table: str
    place: str  # where its numbers were read, in words
    about: str
    rows: list[Row]
    reasons: list[str]  # of all rows, each once
    notes: list[str]

    def why(self, row: Row) -> str:
        """Numbers of a row's reasons, from 1."""
        return ", ".join(str(1 + self.reasons.index(reason)) for reason in row.reasons)

    def odd(self, row: Row) -> str:
        """The letter of a row's note, or nothing."""
        return ascii_lowercase[self.notes.index(row.cell.note)] if row.cell.note else ""

    @property
    def lettered(self) -> list[tuple[str, str]]:
        """Notes by letter."""
        return list(zip(ascii_lowercase, self.notes, strict=False))


def sections(paper: Paper, rows: Sequence[Row]) -> list[Section]:
    """In the paper's order."""
    tables: dict[str, Table] = {table.name: table for table in paper.tables}
    found = []
    for name, group in groupby(rows, lambda row: row.cell.table):
        members, table = list(group), tables[name]
        reasons = list(dict.fromkeys(reason for row in members for reason in row.reasons))
        notes = list(dict.fromkeys(row.cell.note for row in members if row.cell.note))
        found.append(Section(name, _place(table), table.about, members, reasons, notes))
    return found


def _place(table: Table) -> str:
    return "" if table.name.startswith(table.read_at) else f"its numbers as told in {table.read_at}"


def block(paper: Paper, rows: Sequence[Row], scale: Scale) -> str:
    """A section of HTML without head or style: those of base.html fit it."""
    return pages.render(BLOCK, **_values(paper, rows, scale))


def page(paper: Paper, rows: Sequence[Row], scale: Scale) -> str:
    """The same as a page of its own."""
    return pages.render(PAGE, **_values(paper, rows, scale))


def _values(paper: Paper, rows: Sequence[Row], scale: Scale) -> dict[str, Any]:
    return {
        "title": f"{paper.title}: the paper's numbers and ours",
        "short": in_short(paper, counts(rows)),
        "sections": sections(paper, rows),
        "scale": scale,
        "what": what,
        "own": own,
        "number": number,
        "interval": interval,
        "images": images,
        "verdict": verdict,
    }


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Numbers of the paper: all, those that were read, those with one of ours beside them, and comparable ones."""
    return {
        "numbers": len({row.cell.key for row in rows}),
        "read": len({row.cell.key for row in rows if row.cell.text is not None}),
        "with_ours": len({row.cell.key for row in rows if row.ours and row.ours.value is not None}),
        "comparable": len({row.cell.key for row in rows if row.comparable}),
    }


def in_short(paper: Paper, counts: dict[str, int]) -> str:
    """The counts in a sentence."""
    return (
        f"paper {paper.number}: {counts['numbers']} numbers, of which {counts['read']} could be read; "
        f"{counts['with_ours']} have ours beside them, and {counts['comparable']} can be compared"
    )


def text(paper: Paper, rows: Sequence[Row]) -> str:
    """For a terminal: a table after the other."""
    lines = list[str]()
    for section in sections(paper, rows):
        lines += ["", ": ".join([section.table, section.about]) + (f" ({section.place})" if section.place else "")]
        for row in section.rows:
            why = f" (not comparable: {section.why(row)})" if row.reasons else ""
            lines.append(f"  {what(row.cell)}: paper {row.cell.text or UNTOLD}, ours {_ours_in_words(row)}{why}")
        lines += [f"  {number}. not comparable because {reason}" for number, reason in enumerate(section.reasons, 1)]
    return "\n".join([f"{paper.number} {paper.title}", *lines])


def _ours_in_words(row: Row) -> str:
    if row.ours is None:
        return UNTOLD
    shown = [number(row.ours.value, row.cell), interval(row)]
    shown += [f"floor {number(row.ours.floor, row.cell)}"] if row.ours.floor is not None else []
    shown += [f"N {images(row.ours.setting.images, row.ours.setting.of_real)}", own(row), verdict(row)]
    return ", ".join(filter(None, shown))


def as_csv(paper: Paper, rows: Sequence[Row]) -> str:
    """A line a row; what nobody knows is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_line(paper, row) for row in rows)
    return out.getvalue()


def _line(paper: Paper, row: Row) -> dict[str, Any]:
    cell, ours = row.cell, row.ours
    line: dict[str, Any] = {
        "paper": paper.paper, "table": cell.table, "read_at": cell.read_at, "what": what(cell),
        "published": cell.text, "published_value": cell.value, "rounding": cell.rounding,
        "published_images": cell.setting.images, "published_of_real": cell.setting.of_real,
        "stage": cell.ours.get("stage"), "comparable": row.comparable, "inside": row.inside,
        "not_comparable_because": "; ".join(row.reasons), "note": cell.note,
    }  # fmt: skip
    if ours is not None:
        line |= {
            "ours_is": own(row), "ours": ours.value, "low": ours.low, "high": ours.high, "floor": ours.floor,
            "our_images": ours.setting.images, "our_of_real": ours.setting.of_real,
        }  # fmt: skip
    return line


def what(cell: Cell) -> str:
    """A number in words."""
    return ", ".join(f"{name} {value}" for name, value in cell.labels.items())


def own(row: Row) -> str:
    """Which of ours it is: its stage's name in the run, and what tells it from others."""
    if row.ours is None:
        return ""
    where = row.ours.where
    apart = {name: where[name] for name in APART if where.get(name) and name not in ("ratio", "real_images")}
    told = [value for name, value in apart.items() if (name, value) != ("source", ONLY)]
    told += [f"1:{where['ratio']}"] if where.get("role") == "mixed" else []
    told += [_learned_from(row.ours.setting)] if "real_images" in where else []
    told += ["at equal N"] if where["metric"] == "frechet_distance" else []
    told += ["of all images"] if where["metric"] == "frechet_all" else []
    return ", ".join(filter(None, told))  # a zero-shot model learned from nothing here


def _learned_from(setting: Setting) -> str:
    """The images that a classifier was trained on."""
    parts = [(setting.real_images, "real"), (setting.synthetic_images, "synthetic")]
    return " + ".join(f"{count} {kind}" for count, kind in parts if count)


def number(value: float | None, cell: Cell) -> str:
    """As the paper prints its own: percent where it does, and as many places."""
    if value is None:
        return UNTOLD
    if cell.text is None:
        return f"{value:.4g}"
    sign, percent = "+" if cell.text.startswith("+") else "", cell.text.endswith("%")
    plain = cell.text.rstrip("%kM")
    places = len(plain.partition(".")[2])
    if not percent and not places:
        return f"{value:,.0f}"
    return f"{100 * value:{sign}.{places}f}%" if percent else f"{value:{sign}.{places}f}"


def interval(row: Row) -> str:
    """95%, or nothing."""
    if row.ours is None or row.ours.low is None or row.ours.high is None:
        return ""
    return f"{number(row.ours.low, row.cell)} to {number(row.ours.high, row.cell)}"


def images(measured: int | None, of_real: int | None) -> str:
    """N of a side: images that were measured, and those that they were compared with."""
    told = f"{measured:,}" if measured else UNTOLD
    return f"{told} against {of_real:,}" if of_real else told


def verdict(row: Row) -> str:
    """Whether a comparable number came out."""
    if row.inside is None:
        return "comparable" if row.comparable else ""
    return "the paper's lies inside" if row.inside else "the paper's lies outside"


def markdown(paper: Paper) -> str:
    """The paper's numbers alone, a table after the other."""
    return "\n\n".join(_markdown(table, list(cells)) for table, cells in _by_table(paper))


def _by_table(paper: Paper) -> Iterator[tuple[Table, Iterator[Cell]]]:
    tables = {table.name: table for table in paper.tables}
    for name, cells in groupby(paper.cells(), lambda cell: cell.table):
        yield tables[name], cells


def _markdown(table: Table, cells: list[Cell]) -> str:
    count, columns = len(table.columns), [" ".join(column.labels.values()) or "number" for column in table.columns]
    place = _place(table)
    lines = [f"**{table.name}**: {table.about}{f' ({place})' if place else ''}", ""]
    lines += [f"| | {' | '.join(columns)} |", f"|---|{'--:|' * count}"]
    for start, row in zip(range(0, len(cells), count), table.rows, strict=True):
        numbers = [cell.text or "not read" for cell in cells[start : start + count]]
        lines.append(f"| {', '.join(row.labels.values())} | {' | '.join(numbers)} |")
    if table.unread:
        lines += ["", f"Not read: {table.unread}."]
    return "\n".join(lines)
