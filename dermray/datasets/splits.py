"""Leak groups, and splits that keep every group together."""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from typing import Self

import numpy as np
from pydantic import Field, model_validator
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dermray.config import Config, ConfigError
from dermray.datasets.cells import SPLIT, plain
from dermray.records import SPLITS

FOLDS = 20
UNKNOWN = "unknown"  # the stratum of rows whose value is null


class Fractions(Config):
    """Shares of the rows, to the nearest twentieth."""

    train: float = Field(0.7, ge=0, le=1)
    val: float = Field(0.1, ge=0, le=1)
    test: float = Field(0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        shares = self.model_dump()
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise ConfigError(f"train + val + test={sum(shares.values()):g}: expected shares that add up to 1")
        for name, share in shares.items():
            if 0 < share < 0.5 / FOLDS:  # it would get no fold
                raise ConfigError(f"{name}={share}: expected 0, or at least {0.5 / FOLDS}")
        return self


RANKS = ("test", "val", "train")  # where a group lies in several, the first keeps its rows


OF_A_SPLIT = {"set", "split", "data", "dataset", "images", "image", "imgs", "input", "inputs"}  # as in train_images


def leak_groups(keys: list[list[Hashable]], pairs: Iterable[tuple[int, int]] = ()) -> np.ndarray:
    """Group number of each row: rows that share any key, or form a pair, or are linked by others, are one group."""
    first: dict[Hashable, int] = {}
    links = list(pairs)
    for row, row_keys in enumerate(keys):
        links += [(first.setdefault(key, row), row) for key in row_keys if key is not None]
    edges = np.array(links, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(len(keys), len(keys)))
    return np.asarray(connected_components(graph, directed=False)[1])


def official_name(word: str) -> str | None:
    """One of SPLITS, if that is what a folder's or table's word means."""
    name, *rest = re.split(r"[ _-]+", plain(word))
    return SPLIT.get(name) if not set(rest) - OF_A_SPLIT else None


def rank(name: str | None) -> int:
    """Which of several splits keeps what lies in all of them: the least rank's; without a split comes last."""
    return RANKS.index(name) if name else len(RANKS)


def official_splits(given: list[str | None], groups: np.ndarray) -> dict[int, str]:
    """The split of each group that has rows of an official split: test before val before train."""
    official: dict[int, str] = {}
    for name, group in zip(given, groups.tolist(), strict=True):
        if name is not None:
            official[group] = min(name, official.get(group, name), key=rank)
    return official


def split_around(
    official: dict[int, str], strata: list[str], groups: np.ndarray, fractions: Fractions, seed: int
) -> list[str]:
    """One of SPLITS per row: `official` groups stay in theirs, the others are `split`.

    Of val and test, what no group officially is gets its fraction out of the official train groups.

    Raises:
        ValueError: as `split` does.
    """
    names = [official.get(group, "") for group in groups.tolist()]
    free = [row for row, name in enumerate(names) if not name]
    train = [row for row, name in enumerate(names) if name == "train"]
    cut = _still_to_cut(set(names), fractions)
    for rows, shares in ((free, fractions), (train if cut.train < 1 else [], cut)):
        if rows:
            parts = split([strata[row] for row in rows], groups[rows], shares, seed)
            for row, name in zip(rows, parts, strict=True):
                names[row] = name
    return names


def _still_to_cut(given: set[str], fractions: Fractions) -> Fractions:
    """Shares of official train rows that go to the splits which are not given."""
    val, test = (0.0 if name in given else getattr(fractions, name) for name in ("val", "test"))
    total = fractions.train + val + test or 1.0
    return Fractions(train=max(0.0, 1 - val / total - test / total), val=val / total, test=test / total)


def split(strata: list[str], groups: np.ndarray, fractions: Fractions, seed: int) -> list[str]:
    """One of SPLITS per row: groups stay whole, strata keep their shares as far as groups allow.

    Raises:
        ValueError: a stratum with fewer groups than splits.
    """
    shares = [fractions.train, fractions.val, fractions.test]
    if max(shares) == 1:
        return [SPLITS[shares.index(1)]] * len(strata)
    _require_groups(strata, groups, sum(share > 0 for share in shares))
    folds = np.empty(len(strata), np.int64)
    folds_possible = min(len(set(groups.tolist())), Counter(strata).most_common(1)[0][1])
    from sklearn.model_selection import StratifiedGroupKFold  # a second to import; who looks for leaks does not split

    splitter = StratifiedGroupKFold(n_splits=min(FOLDS, folds_possible), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # judged by _require_groups
        for fold, (_, rows) in enumerate(splitter.split(np.zeros(len(strata)), strata, groups)):
            folds[rows] = fold
    edges = np.round(np.cumsum(shares) * splitter.n_splits)
    names = [SPLITS[int(np.searchsorted(edges, fold, side="right"))] for fold in range(splitter.n_splits)]
    return _fill_empty(strata, groups, [names[fold] for fold in folds], shares)


def _require_groups(strata: list[str], groups: np.ndarray, needed: int) -> None:
    members = defaultdict(set)
    for stratum, group in zip(strata, groups.tolist(), strict=True):
        members[stratum].add(group)
    members.pop(UNKNOWN, None)  # a row without a label, a bad cell say, stops no ingest: it lies where it falls
    for stratum, found in sorted(members.items()):
        if len(found) < needed:
            raise ValueError(
                f"class {stratum!r} has {len(found)} independent patient(s) or lesion(s): expected at least {needed}, "
                "one for each split; add images of others, or leave the class out with drop_classes"
            )


def _fill_empty(strata: list[str], groups: np.ndarray, names: list[str], shares: list[float]) -> list[str]:
    """Rare strata can miss a split: move one whole group of theirs over from where they have most."""
    for stratum in sorted(set(strata) - {UNKNOWN}):
        for wanted, share in zip(SPLITS, shares, strict=True):
            own = [i for i, s in enumerate(strata) if s == stratum]
            if share == 0 or any(names[i] == wanted for i in own):
                continue
            by_split: dict[str, Counter[int]] = defaultdict(Counter)
            for i in own:
                by_split[names[i]][int(groups[i])] += 1
            rich = max(by_split.values(), key=len)
            moved = min(rich.items(), key=lambda item: (item[1], item[0]))[0]
            names = [wanted if groups[i] == moved else name for i, name in enumerate(names)]
    return names


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
