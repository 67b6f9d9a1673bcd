"""Leak groups of several images: how large they are, and what joins their rows, as far as the columns tell.

A group whose rows hang together by patients and lesions needed no picture to be found. In any other, pictures were the
link: copies, or look-alikes. How many groups are looked at is limited by their rows, so that memory is.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.columns import batches
from dermray.datasets.leaks import GROUP, USABLE, firsts, of_value
from dermray.datasets.splits import leak_groups
from dermray.exactly_once import hashes
from dermray.picked import FILE
from dermray.row_files import RowFiles

COLUMNS = [
    "sample_id", "source", "source_id", "patient_id", "lesion_id", GROUP, "diagnosis", "entity", "malignant",
    "skin_tone", "split", "width", "height",
]  # fmt: skip
LARGEST = 12  # groups that are looked at in any case
MOST_ROWS = 20_000  # of groups that are looked at
MOST_OF_ONE = 500  # rows of one group: an id that stands for nobody may hold a hundred thousand
SIZES = (1, 2, 3, 6, 11, 101)  # rows from which a group is counted under the next heading
Row = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """One leak group of several usable rows."""

    name: str
    rows: list[Row]  # COLUMNS and FILE, MOST_OF_ONE at most
    size: int
    parts: list[list[int]]  # places of rows that share patients or lesions, the largest first

    @property
    def by_pictures(self) -> bool:
        """Whether it needed pictures to be found."""
        return len(self.parts) > 1

    @property
    def labels(self) -> set[bool]:
        """Those of its rows."""
        return {row["malignant"] for row in self.rows} - {None}

    @property
    def contradicting_lesions(self) -> list[str]:
        """Lesions of which one row says benign and another malignant."""
        said = defaultdict[str, set[bool]](set)
        for row in self.rows:
            if None not in (row["lesion_id"], row["malignant"]):
                said[row["lesion_id"]].add(row["malignant"])
        return sorted(lesion for lesion, labels in said.items() if len(labels) > 1)


@dataclass(frozen=True)
class Clusters:
    """What was found out about groups of several images."""

    sizes: dict[str, int]  # groups by their rows
    largest: int  # rows
    several: int  # groups of more than one row
    found: list[Cluster] = field(default_factory=list)  # those looked at, the largest first

    @property
    def by_pictures(self) -> list[Cluster]:
        """Those that pictures join."""
        return [one for one in self.found if one.by_pictures]

    def as_json(self) -> dict[str, Any]:
        """Numbers alone."""
        return {
            "sizes": self.sizes,
            "largest": self.largest,
            "of_several": self.several,
            "looked_at": len(self.found),
            "joined_by_pictures": len(self.by_pictures),
            "joined_by_pictures_with_two_labels": sum(len(one.labels) > 1 for one in self.by_pictures),
            "lesions_with_two_labels": sum(len(one.contradicting_lesions) for one in self.found),
        }


def find(rows: str | RowFiles, groups: np.ndarray) -> Clusters:
    """Groups of several usable rows.

    Args:
        groups: of `leaks.Keys.all`, of the column leak_group.
    """
    values, sizes, counted = _several(groups)
    if not len(values):
        return Clusters(_by_size(counted), min(1, len(groups)), 0)
    chosen = _chosen(values, sizes)
    of_group = _read(rows, values[chosen])
    number = dict(zip(values[chosen].tolist(), sizes[chosen].tolist(), strict=True))
    found = [Cluster(members[0][GROUP], members, number[value], _parts(members)) for value, members in of_group.items()]
    found.sort(key=lambda one: (-one.size, one.name))
    return Clusters(_by_size(counted), int(sizes.max()), len(values), found)


def _several(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, Counter[int]]:
    """Hashes and sizes of groups with more than one row, and how many groups there are of each size."""
    first = firsts(groups)  # of its group, each row; a byte for it
    last = np.append(first[1:], True) if len(first) else first
    starts, ends = np.flatnonzero(first & ~last), np.flatnonzero(last & ~first)
    sizes = ends - starts + 1
    counted = Counter({1: int(np.count_nonzero(first & last))})
    counted.update(dict(zip(*(part.tolist() for part in np.unique(sizes, return_counts=True)), strict=True)))
    return of_value(groups[starts]), sizes, counted


def _by_size(counted: Counter[int]) -> dict[str, int]:
    """Under headings for people."""
    named: dict[str, int] = {}
    for start, after in zip(SIZES, (*SIZES[1:], 0), strict=True):
        name = str(start) if after == start + 1 else f"{start}-{after - 1}" if after else f"{start}+"
        named[name] = sum(n for size, n in counted.items() if size >= start and (not after or size < after))
    return named


def _chosen(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Places of the largest groups, and of others by their hashes: always the same ones."""
    largest = np.lexsort((values, -sizes))[:LARGEST]
    others = np.setdiff1d(np.arange(len(values)), largest)
    left = MOST_ROWS - int(np.minimum(sizes[largest], MOST_OF_ONE).sum())
    fits = np.cumsum(np.minimum(sizes[others], MOST_OF_ONE)) <= left
    return np.concatenate([largest, others[fits]])


def _read(rows: str | RowFiles, wanted: np.ndarray) -> dict[int, list[Row]]:
    """The rows of some groups by the hash of the group, those with the least ids where these are many."""
    found: dict[int, list[Row]] = defaultdict(list)
    for batch in batches(rows, ["status", *COLUMNS, FILE], USABLE & pc.field(GROUP).is_valid()):
        keys = of_value(hashes(batch[GROUP]))
        mine = np.isin(keys, wanted)
        some = batch.filter(pa.array(mine)).drop_columns(["status"]).to_pylist()
        for key, row in zip(keys[mine].tolist(), some, strict=True):
            found[key].append(row)
            if len(found[key]) >= 2 * MOST_OF_ONE:
                found[key] = _least(found[key])
    return {key: _least(members) for key, members in found.items()}


def _least(members: list[Row]) -> list[Row]:
    return sorted(members, key=lambda row: row["sample_id"])[:MOST_OF_ONE]


def _parts(members: list[Row]) -> list[list[int]]:
    """Places of rows that hang together by patients and lesions, the largest part first."""
    keys = [_codes([row[name] for row in members]) for name in ("patient_id", "lesion_id")]
    part = leak_groups(keys, np.empty((0, 2), np.int64))
    places = [np.flatnonzero(part == number).tolist() for number in range(part.max() + 1)]
    return sorted(places, key=lambda each: (-len(each), each))


def _codes(values: list[str | None]) -> np.ndarray:
    """A number for each value, -1 for null."""
    numbers: dict[str | None, int] = {None: -1}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values])
