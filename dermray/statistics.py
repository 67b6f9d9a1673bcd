"""Intervals for observations that are not independent: two pictures of one patient are not two observations."""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

CELLS = 1 << 22  # weights held at a time: 32 MiB


def cluster_interval(
    statistic: Callable[[np.ndarray], np.ndarray], clusters: list[str], resamples: int, seed: int
) -> tuple[float, float]:
    """95% percentile interval of a statistic, by the bootstrap over whole clusters (Davison and Hinkley 1997, 3.8).

    Args:
        statistic: of (R, N) weights, how often each observation was drawn, its (R,) values; nan where it has none.
        clusters: N names.
    """
    names, member = np.unique(np.array(clusters), return_inverse=True)
    rng, chances = np.random.default_rng(seed), np.full(len(names), 1 / len(names))
    at_once = max(1, CELLS // len(member))
    parts = [
        statistic(rng.multinomial(len(names), chances, size=min(at_once, resamples - start))[:, member].astype(float))
        for start in range(0, resamples, at_once)
    ]
    low, high = np.nanquantile(np.concatenate(parts), [0.025, 0.975])
    return float(low), float(high)


def auc_interval(
    labels: np.ndarray, scores: np.ndarray, clusters: list[str], resamples: int, seed: int
) -> tuple[float, float] | None:
    """`cluster_interval` of the area under the ROC curve, averaged over the rows of `scores` (models).

    Args:
        labels: (N,) bool. scores: (M, N). clusters: N names.

    Returns:
        None where fewer than two clusters of either class exist.
    """
    names = np.array(clusters)
    if min(len(set(names[labels])), len(set(names[~labels]))) < 2:
        return None
    return cluster_interval(
        lambda weights: np.mean([weighted_auc(labels, row, weights) for row in scores], axis=0),
        clusters, resamples, seed,
    )  # fmt: skip


def weighted_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) AUCs of one scoring under R sets of image weights (R, N); nan where a class has no weight.

    The chance that a malignant image scores above a benign one, ties counting half.
    """
    rank = rankdata(scores, method="dense").astype(int) - 1
    positive = np.zeros((len(weights), rank.max() + 1))
    negative = np.zeros_like(positive)
    np.add.at(positive.T, rank[labels], weights[:, labels].T)
    np.add.at(negative.T, rank[~labels], weights[:, ~labels].T)
    below = np.cumsum(negative, axis=1) - negative
    wins = (positive * (below + 0.5 * negative)).sum(1)
    with np.errstate(invalid="ignore"):
        return np.asarray(wins / (positive.sum(1) * negative.sum(1)))
