"""The usable rows of a result counted by what they are, for each source and split; and why the others are not usable.

One reading of small columns, a batch at a time. What is held grows with sources and different values, never with rows.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dermray.columns import KINDS, OTHER, Tally, batches
from dermray.records import AT, kind
from dermray.row_files import RowFiles

CUBE = ("source", "split", "malignant", "skin_tone", "skin_tone_source", "modality")  # counted together
SINGLE = ("entity", "diagnosis", "fitzpatrick", "sex", "site", "licence", "modification", "origin")  # each alone
MISSABLE = (
    "patient_id", "lesion_id", "diagnosis", "entity", "malignant", "modality", "fitzpatrick", "skin_tone", "age",
    "sex", "site", "licence",
)  # fmt: skip
COLUMNS = [*dict.fromkeys(["status", "reason", *CUBE, *SINGLE, *MISSABLE, "width", "height", "cell_issues"])]
SIDES = (128, 256, 512)  # px at which the next bucket of the shorter side begins: paper 002, Table 1
AGES = 100  # ages are counted to the hundredth of a year
EXAMPLES = 3  # of each kind of cell that makes no sense


@dataclass
class Counts:
    """Rows by what they are."""

    cube: Counter[tuple[Any, ...]] = field(default_factory=Counter)  # CUBE -> usable rows
    # column -> (source, split, value) -> usable rows; `side` and `age` among the columns
    single: dict[str, Counter[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(Counter))
    missing: Counter[tuple[str, str | None, str]] = field(default_factory=Counter)  # (source, split, column)
    statuses: Counter[tuple[Any, ...]] = field(default_factory=Counter)  # (source, status, reason) -> rows
    issues: Counter[str] = field(default_factory=Counter)  # cells that made no sense, by kind
    issue_examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, batch: pa.RecordBatch) -> None:
        """Rows of COLUMNS."""
        rows = pa.Table.from_batches([batch])
        for (source, status, reason), number in _grouped(rows, ["source", "status", "reason"]):
            _bounded(self.statuses, (source, status, reason and kind(reason)), number)
        self._add_issues(batch["cell_issues"])
        ok = rows.filter(pc.equal(rows["status"], "ok"))
        for values, number in _grouped(ok, [*CUBE]):
            self.cube[values] += number
        ok = ok.append_column("side", _side(ok)).append_column("age_counted", _age(ok))
        for name, column in {"side": "side", "age": "age_counted", **{name: name for name in SINGLE}}.items():
            for values, number in _grouped(ok, ["source", "split", column]):
                _bounded(self.single[name], values, number)
        self._add_missing(ok)

    def _add_missing(self, ok: pa.Table) -> None:
        nulls = [(name, "count", pc.CountOptions(mode="only_null")) for name in MISSABLE]
        for row in ok.group_by(["source", "split"]).aggregate(nulls).to_pylist():
            for name in MISSABLE:
                if row[f"{name}_count"]:
                    self.missing[row["source"], row["split"], name] += row[f"{name}_count"]

    def _add_issues(self, column: pa.Array) -> None:
        for issue in pc.list_flatten(column).to_pylist():
            name = kind(issue) if kind(issue) in self.issues or len(self.issues) < KINDS else OTHER
            self.issues[name] += 1
            if len(self.issue_examples[name]) < EXAMPLES:
                self.issue_examples[name].append(issue.partition(AT)[2])

    @property
    def sources(self) -> list[str]:
        """Of all rows, usable or not."""
        return sorted({source for source, *_ in self.statuses})

    def of(self, **place: str | None) -> "Counts":
        """Usable rows of one source, of one split, or of one split of a source."""
        wanted = {("source", "split").index(name): value for name, value in place.items()}

        def inside(key: tuple[Any, ...]) -> bool:
            return all(key[at] == value for at, value in wanted.items())

        part = Counts()
        part.cube.update({key: n for key, n in self.cube.items() if inside(key)})
        part.missing.update({key: n for key, n in self.missing.items() if inside(key)})
        for column, counted in self.single.items():
            part.single[column].update({key: n for key, n in counted.items() if inside(key)})
        return part

    def by(self, *columns: str) -> Counter[Any]:
        """Usable rows by some of CUBE, or by one of the other columns."""
        counted = Counter[Any]()
        if set(columns) <= set(CUBE):
            places = [CUBE.index(name) for name in columns]
            for values, number in self.cube.items():
                key = tuple(values[place] for place in places)
                counted[key if len(key) > 1 else key[0]] += number
            return counted
        [column] = columns
        for (_, _, value), number in self.single[column].items():
            counted[value] += number
        return counted


def count(rows: str | RowFiles) -> Counts:
    """Of all rows.

    Raises:
        KeyError: a file has no such column, because an earlier version of dermray wrote it.
    """
    counts = Counts()
    for batch in batches(rows, COLUMNS):
        counts.add(batch)
    return counts


def _grouped(rows: pa.Table, columns: list[str]) -> Iterable[tuple[tuple[Any, ...], int]]:
    """Each combination of values that occurs, and how often."""
    found = rows.group_by(columns).aggregate([([], "count_all")]).to_pydict()
    return zip(zip(*(found[name] for name in columns), strict=True), found["count_all"], strict=True)


def _bounded(counts: Tally, key: tuple[Any, ...], number: int) -> None:
    """Where each row has a word of its own, not all of these are kept."""
    known = key in counts or len(counts) < KINDS
    counts[key if known else (*key[:-1], key[-1] and OTHER)] += number


def _side(rows: pa.Table) -> pa.Array:
    """Place of each image's shorter side among SIDES; null where nobody knows its size."""
    shorter = pc.if_else(pc.less(rows["width"], rows["height"]), rows["width"], rows["height"])
    place = pa.array([0] * len(rows), pa.int8())
    for side in SIDES:
        place = pc.add(place, pc.cast(pc.greater_equal(shorter, side), pa.int8()))
    return place


def _age(rows: pa.Table) -> pa.Array:
    """In hundredths of a year; null where it says nothing."""
    age = pc.if_else(pc.is_nan(rows["age"]), None, rows["age"])
    return pc.cast(pc.round(pc.multiply(pc.cast(age, pa.float64()), AGES)), pa.int32())


def quantile(ages: Counter[Any], share: float) -> float | None:
    """Of ages counted in hundredths, in years, interpolated as numpy does. None where there is none."""
    known = sorted((age, number) for age, number in ages.items() if age is not None)
    total = sum(number for _, number in known)
    if not total:
        return None
    wanted = share * (total - 1)
    low, high = _at(known, int(wanted)), _at(known, min(int(wanted) + 1, total - 1))
    return (low + (high - low) * (wanted - int(wanted))) / AGES


def _at(known: list[tuple[int, int]], place: int) -> int:
    """The age of one of all rows, in order."""
    for age, number in known:
        if place < number:
            return age
        place -= number
    raise AssertionError("no such place")
