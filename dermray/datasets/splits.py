"""Leak groups and splits: rows that share a patient, lesion or photograph stay together, and in one split."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dermray.config import Config, ConfigError
from dermray.datasets.cells import SPLIT, plain
from dermray.datasets.folds import stratified_group_folds
from dermray.records import SPLITS

FOLDS = 20
UNKNOWN = "unknown"  # the stratum of rows whose value is null
NONE = -1  # in arrays of places: no split, or nobody's key
TRAIN, VAL, TEST = range(len(SPLITS))  # places in SPLITS; of a group in several the greatest keeps its rows
OF_A_SPLIT = {"set", "split", "data", "dataset", "images", "image", "imgs", "input", "inputs"}  # as in train_images


@dataclass(frozen=True)
class Strata:
    """What the splits are to have in the same shares."""

    labels: np.ndarray  # (N,) str, UNKNOWN where there is none; every split gets each
    cells: np.ndarray  # (N,) int, label and other columns together: every split gets its share as far as groups allow

    @classmethod
    def of(cls, labels: Sequence[str] | np.ndarray, *others: Sequence[str] | np.ndarray) -> "Strata":
        """Of columns of words, the label's first."""
        cells = np.zeros(len(labels), np.int64)
        for column in (labels, *others):
            words, codes = np.unique(np.asarray(column), return_inverse=True)
            cells = np.unique(cells * len(words) + codes, return_inverse=True)[1]
        return cls(np.asarray(labels), cells)

    def take(self, rows: np.ndarray) -> "Strata":
        """Of these rows, their cells numbered anew."""
        return Strata(self.labels[rows], np.unique(self.cells[rows], return_inverse=True)[1])

    def by_label(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each label but UNKNOWN, and its rows."""
        names, codes = np.unique(self.labels, return_inverse=True)
        for place, name in enumerate(names.tolist()):
            if name != UNKNOWN:
                yield str(name), np.flatnonzero(codes == place)


class Fractions(Config):
    """Shares of the rows, to the nearest twentieth."""

    train: float = Field(0.7, ge=0, le=1)
    val: float = Field(0.1, ge=0, le=1)
    test: float = Field(0.2, ge=0, le=1)

    @property
    def shares(self) -> list[float]:
        """In the order of SPLITS."""
        return [self.train, self.val, self.test]

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        shares = self.model_dump()
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise ConfigError(f"train + val + test={sum(shares.values()):g}: expected shares that add up to 1")
        for name, share in shares.items():
            if 0 < share < 0.5 / FOLDS:  # it would get no fold
                raise ConfigError(f"{name}={share}: expected 0, or at least {0.5 / FOLDS}")
        return self


def leak_groups(keys: Sequence[np.ndarray], links: np.ndarray) -> np.ndarray:
    """Group number of each row: rows that share any key, or are linked, or are so through others, are one group.

    Args:
        keys: (N,) int each, such as the patients: rows with the same number share it, NONE is nobody's.
        links: (M, 2) rows.
    """
    found = [np.asarray(links, np.int64).reshape(-1, 2)]
    for key in keys:
        rows = np.flatnonzero(key != NONE)
        _, first, same = np.unique(key[rows], return_index=True, return_inverse=True)
        found.append(np.stack([rows[first[same]], rows], 1))
    ends, count = np.concatenate(found), len(keys[0])
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def official_name(word: str) -> str | None:
    """One of SPLITS, if that is what a folder's or table's word means."""
    name, *rest = re.split(r"[ _-]+", plain(word))
    return SPLIT.get(name) if not set(rest) - OF_A_SPLIT else None


def official_splits(given: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The official split of each row's group, (N,) int8: test before val before train, NONE where no row has one.

    Args:
        given: (N,) int8, the rows' own.
    """
    official = np.full(groups.max(initial=NONE) + 1, NONE, np.int8)
    np.maximum.at(official, groups, given)
    return official[groups]


def split_around(
    official: np.ndarray, strata: Strata, groups: np.ndarray, fractions: Fractions, seed: int
) -> np.ndarray:
    """Places in SPLITS, (N,) int8: `official` groups stay in theirs, the others are `split`.

    Of val and test, what no group officially is gets its fraction out of the official train groups.

    Args:
        official: of `official_splits`.

    Raises:
        ValueError: as `split` does.
    """
    names = official.astype(np.int8)
    cut = _still_to_cut(set(np.unique(official).tolist()), fractions)
    free, train = np.flatnonzero(official == NONE), np.flatnonzero(official == TRAIN)
    for rows, shares in ((free, fractions), (train if cut.train < 1 else train[:0], cut)):
        if len(rows):
            names[rows] = split(strata.take(rows), groups[rows], shares, seed)
    return names


def _still_to_cut(given: set[int], fractions: Fractions) -> Fractions:
    """Shares of official train rows that go to the splits which are not given."""
    val, test = (0.0 if place in given else share for place, share in ((VAL, fractions.val), (TEST, fractions.test)))
    total = fractions.train + val + test or 1.0
    return Fractions(train=max(0.0, 1 - val / total - test / total), val=val / total, test=test / total)


def split(strata: Strata, groups: np.ndarray, fractions: Fractions, seed: int) -> np.ndarray:
    """Places in SPLITS, (N,) int8: groups stay whole, strata keep their shares as far as groups allow.

    Raises:
        ValueError: a label with fewer groups than splits.
    """
    shares = fractions.shares
    if max(shares) == 1:
        return np.full(len(groups), shares.index(1), np.int8)
    require_groups(strata, groups, shares)
    number = min(FOLDS, len(np.unique(groups)), int(np.unique(strata.labels, return_counts=True)[1].max()))
    folds = stratified_group_folds(strata.cells, groups, number, seed)
    edges = np.round(np.cumsum(shares) * number)
    names = np.searchsorted(edges, folds, side="right").astype(np.int8)
    fill_empty(strata, groups, names, shares, np.ones(len(names), bool))
    return names


def require_groups(strata: Strata, groups: np.ndarray, shares: Sequence[float], known: Collection[str] = ()) -> None:
    """Of rows with a label: one without, a bad cell say, stops no ingest, and lies where it falls.

    Raises:
        ValueError: a label, none of the `known`, with fewer groups than splits.
    """
    needed = sum(share > 0 for share in shares)
    for name, rows in strata.by_label():
        if name not in known and (number := len(np.unique(groups[rows]))) < needed:
            raise ValueError(
                f"class {name!r} has {number} independent patient(s) or lesion(s): expected at least {needed}, "
                "one for each split; add images of others, or leave the class out with drop_classes"
            )


def fill_empty(
    strata: Strata, groups: np.ndarray, names: np.ndarray, shares: Sequence[float], movable: np.ndarray
) -> None:
    """A rare label can miss a split: move one whole group over from where it has most, `movable` rows alone."""
    for _, own in strata.by_label():
        for wanted, share in enumerate(shares):
            if share == 0 or (names[own] == wanted).any():
                continue
            mine = own[movable[own]]
            by_split = [np.unique(groups[mine[names[mine] == at]], return_counts=True) for at in range(len(SPLITS))]
            there, counts = max(by_split, key=lambda held: len(held[0]))
            if len(there):
                names[groups == there[np.argmin(counts)]] = wanted  # the smallest, and of those the first


def check_leaks(rows: Iterable[tuple[str, str]]) -> None:
    """Refuse rows (leak_group, split) in which a group lies in two splits.

    Raises:
        ValueError: naming a group and its splits.
    """
    seen: dict[str, str] = {}
    for group, name in rows:
        if seen.setdefault(group, name) != name:
            raise ValueError(
                f"leak: group {group!r} lies in both {seen[group]!r} and {name!r}; a patient, lesion or near duplicate "
                "must stay in one split. Ingest again, or remove one side"
            )
