"""New groups dealt to splits beside those that an earlier result has: these stay, and the shares are kept over all."""

import numpy as np

from dermray.datasets.splits import NONE, Fractions, Strata, fill_empty, require_groups


def topped_up(settled: np.ndarray, strata: Strata, groups: np.ndarray, fractions: Fractions, seed: int) -> np.ndarray:
    """Places in SPLITS, (N,) int8: groups that have one keep it; each other goes where most of its strata are missing.

    Args:
        settled: (N,) int8, the same for all rows of a group, NONE for those to deal.

    Raises:
        ValueError: a label that no settled row has, with fewer groups than splits.
    """
    names, free = settled.astype(np.int8), settled == NONE
    rows = np.flatnonzero(free)
    if not len(rows):
        return names
    known = set(np.unique(strata.labels[~free]).tolist())
    require_groups(strata.take(rows), groups[rows], fractions.shares, known)
    sizes = np.bincount(strata.cells)
    missing = np.outer(sizes, fractions.shares)  # (cells, splits): rows that each is to get
    np.subtract.at(missing, (strata.cells[~free], settled[~free]), 1)
    for group in _in_order(groups[rows], seed):
        cells, counts = np.unique(strata.cells[group := rows[group]], return_counts=True)
        wanted = counts @ (missing[cells] / sizes[cells, None])  # a rare cell's lack weighs as much as a common one's
        place = int(np.argmax(np.where(np.array(fractions.shares) > 0, wanted, -np.inf)))
        missing[cells, place] -= counts
        names[group] = place
    fill_empty(strata, groups, names, fractions.shares, free)
    return names


def _in_order(groups: np.ndarray, seed: int) -> list[np.ndarray]:
    """Rows of each group: the largest groups first, which the smaller then even out, equal ones in a random order."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    turn = np.random.RandomState(seed).permutation(len(starts))
    turn = turn[np.argsort(-sizes[turn], kind="stable")]
    return [order[starts[at] : starts[at] + sizes[at]] for at in turn.tolist()]
