"""A reader against a classifier on the same images: every image is one pair."""

from typing import Any

import numpy as np
from scipy.stats import binomtest

from dermray.reader_study.measures import images
from dermray.statistics import cluster_interval, holm, weighted_auc


def compare(
    truth: np.ndarray, reader: np.ndarray, machine: np.ndarray, resamples: int, seed: int
) -> dict[str, Any] | None:
    """Difference of accuracies (reader - classifier) with its interval by the paired bootstrap, and McNemar's exact
    test on the images that one of them had right alone.

    Args:
        truth, reader, machine: (N,) int64 numbers of classes; the reader's negative where there is no answer, and these
            images are left out.

    Returns:
        None where nothing is answered.
    """
    known = reader >= 0
    if not known.any():
        return None
    mine, its = (reader == truth)[known], (machine == truth)[known]
    difference = mine.astype(float) - its
    low, high = cluster_interval(
        lambda weights: weights @ difference / weights.sum(1), images(difference), resamples, seed
    )
    alone, other = int((mine & ~its).sum()), int((its & ~mine).sum())
    return {
        "images": int(known.sum()),
        "reader": float(mine.mean()),
        "classifier": float(its.mean()),
        "difference": float(difference.mean()),
        "low": low,
        "high": high,
        "reader_alone": alone,
        "classifier_alone": other,
        "p": float(binomtest(alone, alone + other).pvalue) if alone + other else 1.0,
    }


def compare_auc(
    truth: np.ndarray, reader: np.ndarray, machine: np.ndarray, resamples: int, seed: int
) -> dict[str, float] | None:
    """Difference of mean AUCs (reader - classifier) by the paired bootstrap: for readers who said how sure they are.
    Hard answers are one point of a curve, and its "AUC" no match for a whole one.

    Args:
        reader, machine: (N, C) scores, without gaps.

    Returns:
        None where the images have one class only.
    """
    present = np.unique(truth)
    if len(present) < 2:
        return None
    shown = present[1:] if reader.shape[1] == 2 else present

    def mean_auc(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.asarray(np.mean([weighted_auc(truth == k, scores[:, k], weights) for k in shown], axis=0))

    def difference(weights: np.ndarray) -> np.ndarray:
        return mean_auc(reader, weights) - mean_auc(machine, weights)

    low, high = cluster_interval(difference, images(truth), resamples, seed)
    return {"difference": float(difference(np.ones((1, len(truth))))[0]), "low": low, "high": high}


def corrected(compared: list[dict[str, Any]]) -> None:
    """Tell each comparison its p after Holm's correction for the number of all."""
    for one, p in zip(compared, holm([one["p"] for one in compared]), strict=True):
        one["p_corrected"] = p
