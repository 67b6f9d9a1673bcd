"""Proof that no patient, lesion, picture or leak group lies in two splits, for rows that may be 10^7.

Of each row 8 bytes are held: 62 bits of a hash of its value, and the split in the other two. Sorted, what lies in two
splits stands side by side. Equal values have equal hashes, so nothing that leaks is missed; what seems to leak is then
looked up by its name, so two values of one hash accuse nobody.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.columns import batches
from dermray.exactly_once import hashes
from dermray.manifest import Result
from dermray.records import SPLITS
from dermray.row_files import RowFiles

GROUP = "leak_group"
NAMES = {GROUP: ("group", "leak groups"), "patient_id": ("patient", "patients"), "lesion_id": ("lesion", "lesions"),
         "sample_id": ("image", "images")}  # fmt: skip
OF_SPLIT = np.uint64(3)  # the two bits that hold a place in SPLITS, or its length for a row without
NAMED = 20  # of what leaks
EXACT = 10_000  # so many that seem to leak are looked up by name; of more the hashes are believed
AT_ONCE = 1 << 16  # values compared at a time
USABLE = pc.field("status") == "ok"


@dataclass(frozen=True)
class Keys:
    """The values of a column in the usable rows."""

    column: str
    by_source: dict[str, np.ndarray]  # (N,) uint64 each, sorted: hash and split
    without: int  # usable rows that have no value

    @classmethod
    def read(cls, rows: str | RowFiles, column: str) -> "Keys":
        """One reading of three columns."""
        found: dict[str, array[int]] = defaultdict(lambda: array("Q"))
        without = 0
        for batch in batches(rows, ["status", "source", column, "split"], USABLE):
            known = batch.filter(pc.is_valid(batch[column]))
            without += batch.num_rows - known.num_rows
            sources = pc.fill_null(known["source"], "")
            for source in sources.unique().to_pylist():
                mine = known.filter(pc.equal(sources, source))
                found[source].frombytes(packed(mine[column], mine["split"]).view(np.uint8).data)
        by_source = {source: np.frombuffer(values, np.uint64) for source, values in sorted(found.items())}
        for values in by_source.values():
            values.sort()
        return cls(column, by_source, without)

    @property
    def rows(self) -> int:
        """Usable rows that have a value."""
        return sum(len(values) for values in self.by_source.values())

    def all(self) -> np.ndarray:
        """Of all sources, sorted."""
        if len(self.by_source) == 1:
            return next(iter(self.by_source.values()))
        together = np.concatenate([np.empty(0, np.uint64), *self.by_source.values()])
        together.sort()
        return together


@dataclass(frozen=True)
class Checked:
    """What was looked at, and what lies in several splits."""

    column: str
    values: int  # different ones
    rows: int  # that have one
    without: int  # usable rows that have none: nothing can be said of these
    crossing: int  # values in two splits or more
    named: dict[str, list[str]]  # some of them, with their splits

    def require(self) -> None:
        """Raises ValueError: something leaks."""
        if not self.crossing:
            return
        (name, splits), *others = self.named.items()
        more = f" (as do {self.crossing - 1} more: {', '.join(n for n, _ in others)})" if others else ""
        raise ValueError(
            f"leak: {NAMES[self.column][0]} {name!r} lies in both {' and '.join(map(repr, splits))}{more}; a patient, "
            "lesion or near duplicate must stay in one split. Ingest again, or remove one side"
        )

    def told(self) -> str:
        """In a line."""
        one, several = NAMES[self.column]
        if not self.values:
            return f"{several}: none known, so nothing to check in {self.without:,} rows"
        looked = f"{several}: {self.values:,} checked, of {self.rows:,} rows"
        looked += f" ({self.without:,} more have none)" if self.without else ""
        if not self.crossing:
            return f"{looked}: none in two splits"
        named = ", ".join(f"{name} ({', '.join(splits)})" for name, splits in self.named.items())
        verb = f"1 {one} LIES" if self.crossing == 1 else f"{self.crossing:,} LIE"
        return f"{looked}: {verb} IN SEVERAL SPLITS: {named}{', ...' if self.crossing > len(self.named) else ''}"


def packed(values: pa.Array, splits: pa.Array) -> np.ndarray:
    """(N,) uint64: hashes of values without a null, in the lowest bits the split."""
    places = np.asarray(pc.fill_null(pc.index_in(splits, pa.array(SPLITS)), len(SPLITS))).astype(np.uint64)
    return hashes(values) & ~OF_SPLIT | places


def of_value(keys: np.ndarray) -> np.ndarray:
    """The hash alone."""
    return keys & ~OF_SPLIT


def checked(rows: str | RowFiles, keys: Keys) -> Checked:
    """Look for values in several splits. Reads the rows again only where some are found."""
    values, held = distinct(together := keys.all()), np.unique(_crossing(together))
    named = _named(rows, keys.column, held[:EXACT]) if len(held) else {}
    crossing = len(named) if len(held) <= EXACT else len(held)
    return Checked(keys.column, values, keys.rows, keys.without, crossing, dict(list(named.items())[:NAMED]))


def require_whole_groups(result: Result) -> None:
    """Refuse rows of which a leak group lies in two splits: for stages that learn from one split and judge by another.
    Where Ray is there, in a task: 10^7 rows take 80 MB and minutes. Those of an ingest that was told to split by image
    pass: its mark goes with them into every manifest.

    Raises:
        ValueError: naming groups and their splits.
    """
    if not result.manifest.leaking_groups:
        checked(rows := result.row_files(), Keys.read(rows, GROUP)).require()


def firsts(keys: np.ndarray) -> np.ndarray:
    """(N,) bool: which of sorted keys are the first of their value."""
    return np.concatenate([np.ones(min(1, len(keys)), bool), *(_differs(part) for part in _parts(keys))])


def distinct(keys: np.ndarray) -> int:
    """How many different values sorted keys are of."""
    return sum(int(np.count_nonzero(_differs(part))) for part in _parts(keys)) + (len(keys) > 0)


def distinct_by_split(keys: np.ndarray) -> dict[str | None, int]:
    """The same of each split; None for rows without one."""
    counts = np.zeros(len(SPLITS) + 1, np.int64)
    for place, part in enumerate(_parts(keys)):
        new = part[1:][part[1:] != part[:-1]]
        own = new if place else np.concatenate([part[:1], new])
        counts += np.bincount((own & OF_SPLIT).astype(np.int64), minlength=len(counts))
    names = (*SPLITS, None)
    return {name: int(number) for name, number in zip(names, counts, strict=True) if number}


def _parts(keys: np.ndarray) -> Iterator[np.ndarray]:
    """Neighbours stand in one part: each begins with the last key of the part before."""
    for start in range(0, len(keys), AT_ONCE):
        yield keys[max(0, start - 1) : start + AT_ONCE]  # the first has none before it


def _differs(part: np.ndarray) -> np.ndarray:
    return (part[1:] ^ part[:-1]) > OF_SPLIT


def _crossing(keys: np.ndarray) -> np.ndarray:
    """Hashes that stand beside themselves with another split. A row without a split is in none that could leak."""
    found = [np.empty(0, np.uint64)]
    for part in _parts(keys):
        differ = (part[1:] != part[:-1]) & ~_differs(part) & ((part[1:] & OF_SPLIT) != OF_SPLIT)
        found.append(of_value(part[1:][differ]))
    return np.concatenate(found)


def _named(rows: str | RowFiles, column: str, wanted: np.ndarray) -> dict[str, list[str]]:
    """Names and splits of values in several splits, by name."""
    splits: dict[str, set[str]] = defaultdict(set)
    for batch in batches(rows, ["status", column, "split"], USABLE & pc.field(column).is_valid()):
        mine = batch.filter(pa.array(np.isin(of_value(hashes(batch[column])), wanted)))
        for name, split in zip(mine[column].to_pylist(), mine["split"].to_pylist(), strict=True):
            if split is not None:
                splits[name].add(split)
    return {name: sorted(of, key=SPLITS.index) for name, of in sorted(splits.items()) if len(of) > 1}
