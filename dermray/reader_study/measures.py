"""How right answers are: what paper 000 reports of its dermatologist (section 3.2), by scikit-learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn import metrics as sk

from dermray.statistics import LEVEL, auc_interval, cluster_interval, crossed, replicates


def measure(
    truth: np.ndarray, said: np.ndarray, scores: np.ndarray, classes: Sequence[str], resamples: int, seed: int
) -> dict[str, Any]:
    """accuracy, classification report, confusion matrix and AUCs of answered images.

    Images are drawn anew, each by itself: a study shows one of a lesion.

    Args:
        truth: (N,) int64 numbers of classes. said: (N,) the answers', UNKNOWN where there is none.
        scores: (N, C) for each class against the rest, nan where not answered.

    Returns:
        images, answered, right, accuracy {value, low, high}, accuracy_of_all (what is not answered counts as wrong),
        report (scikit-learn's), confusion (rows: truth), auc {class: {value, low, high}, mean}. None where nothing is
        answered or a class is missing.
    """
    known = said >= 0
    told: dict[str, Any] = {"images": len(truth), "answered": int(known.sum())}
    right = int((truth == said).sum())
    told |= {"right": right, "accuracy_of_all": right / len(truth) if len(truth) else None}
    truth, said, scores = truth[known], said[known], scores[known]
    if not len(truth):
        return told | {"accuracy": None, "report": None, "confusion": None, "auc": None}
    numbers = np.arange(len(classes))
    report = sk.classification_report(
        truth, said, labels=numbers, target_names=list(classes), output_dict=True, zero_division=0
    )
    return told | {
        "accuracy": accuracy(truth == said, resamples, seed),
        "report": report,
        "confusion": sk.confusion_matrix(truth, said, labels=numbers).tolist(),
        "auc": aucs(truth, scores, classes, resamples, seed),
    }


def accuracy(right: np.ndarray, resamples: int, seed: int) -> dict[str, float]:
    """Share of right answers with a 95% interval: the bootstrap's, or the exact one (Clopper and Pearson) where all
    answers are right or all wrong. There every resample is the same, and the bootstrap would claim certainty.

    Args:
        right: (N,) bool, N > 0.
    """
    if right.all() or not right.any():
        exact = binomtest(int(right.sum()), len(right)).proportion_ci(LEVEL, method="exact")
        low, high = float(exact.low), float(exact.high)
    else:
        low, high = cluster_interval(lambda weights: weights @ right / weights.sum(1), images(right), resamples, seed)
    return {"value": float(right.mean()), "low": low, "high": high}


def mean_accuracy(right: np.ndarray, known: np.ndarray, resamples: int, seed: int) -> dict[str, float | None] | None:
    """Mean share of right answers over readers, with a 95% interval over readers and images together: `crossed`.

    Args:
        right, known: (R, N) bool, of each reader and image whether the answer is right, and whether there is one; R
            of 2 or more.

    Returns:
        value, low, high; these are None where all readers are right (or wrong) on all images. None where a reader
        answered nothing.
    """
    if not known.any(axis=1).all():
        return None

    def shares(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.asarray(((right & known) @ weights.T) / (known @ weights.T))

    values = shares(np.ones((1, right.shape[1])))[:, 0]
    if len(set(values)) == 1 and values[0] in (0, 1):
        return {"value": float(values[0]), "low": None, "high": None}
    clusters = images(right[0])
    again = replicates(shares, clusters, resamples, seed)
    bounds = crossed(values, again, len(clusters)).within_zero_and_one()
    return {"value": bounds["mean"], "low": bounds["low"], "high": bounds["high"]}


def aucs(
    truth: np.ndarray, scores: np.ndarray, classes: Sequence[str], resamples: int, seed: int
) -> dict[str, Any] | None:
    """Of each class against the rest, and their mean; of two classes of the second one alone. None where the images
    have one class only."""
    if len(set(truth.tolist())) < 2:
        return None
    shown = range(1, 2) if len(classes) == 2 else range(len(classes))
    found: dict[str, Any] = {classes[k]: _auc(truth == k, scores[:, k], resamples, seed) for k in shown}
    there = [one["value"] for one in found.values() if one]
    return {"classes": found, "mean": float(np.mean(there))}


def _auc(truth: np.ndarray, scores: np.ndarray, resamples: int, seed: int) -> dict[str, float | None] | None:
    if not 0 < truth.sum() < len(truth):
        return None
    interval = auc_interval(truth, scores, images(truth), resamples, seed)
    low, high = interval if interval else (None, None)
    return {"value": float(sk.roc_auc_score(truth, scores)), "low": low, "high": high}


def images(values: np.ndarray) -> list[str]:
    """Clusters of the bootstrap: each image its own."""
    return [str(number) for number in range(len(values))]
