"""Metrics of a classifier, per class and over all images, as scikit-learn computes them.

Labels are (N,) int64 class numbers, probabilities (N, C) float64 with a column a class; two classes are (negative,
positive). What the images leave undefined, such as the AUC of a class that none of them has, is None.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from dermray.statistics import weighted_auc

FIXED = 0.9  # the specificity at which sensitivity is read off the ROC curve, and the reverse
BINS = 15  # of the calibration error, as Guo et al. 2017


def decide(probabilities: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """(N,) predicted class numbers: of two classes by the positive one's threshold, of more the most probable."""
    if probabilities.shape[1] == 2:
        return (probabilities[:, 1] >= threshold).astype(np.int64)
    return np.argmax(probabilities, axis=1)


def measure(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], threshold: float = 0.5, fixed: float = FIXED
) -> dict[str, Any]:
    """overall, classes (each against the rest), confusion (rows: truth) and threshold.

    `auc` and `average_precision` are those of the positive class, or means over more than two classes. Averages
    (macro) go over the classes that the images have.

    Raises:
        ValueError: labels, probabilities and classes do not fit each other.
    """
    if probabilities.shape != (len(labels), len(classes)):
        raise ValueError(f"probabilities of shape {probabilities.shape}: expected {(len(labels), len(classes))}")
    if len(strange := labels[(labels < 0) | (labels >= len(classes))]):
        raise ValueError(
            f"label {strange[0]}: expected class numbers from 0 to {len(classes) - 1}; leave unknown labels out"
        )
    numbers = np.arange(len(classes))
    confusion = sk.confusion_matrix(labels, decide(probabilities, threshold), labels=numbers)
    rates = rates_of(confusion)
    by_class = {
        name: _plain(
            {"images": int((labels == i).sum())}
            | ranking(labels == i, probabilities[:, i], fixed)
            | {rate: values[i] for rate, values in rates.items()}
        )
        for i, name in enumerate(classes)
    }
    ranked = [by_class[classes[1]]] if len(classes) == 2 else list(by_class.values())
    images = confusion.sum(1)
    told = {
        "images": len(labels),
        "accuracy": np.trace(confusion) / len(labels),
        "balanced_accuracy": np.nanmean(rates["recall"]),
        "auc": _mean(row["auc"] for row in ranked),
        "average_precision": _mean(row["average_precision"] for row in ranked),
        "brier": sk.brier_score_loss(np.eye(len(classes))[labels], probabilities, scale_by_half=len(classes) == 2),
        "calibration_error": calibration_error(labels, probabilities),
    }
    for average, shares in (("macro", images > 0), ("weighted", images)):
        for rate in ("precision", "recall", "f1"):  # a class that nothing was called counts as zero
            told[f"{rate}_{average}"] = np.average(np.nan_to_num(rates[rate]), weights=shares)
    return {
        "overall": _plain(told),
        "classes": by_class,
        "confusion": confusion.tolist(),
        "threshold": threshold if len(classes) == 2 else None,
    }


def rates_of(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """(C,) precision, recall (sensitivity), specificity and f1 of each class against the rest; nan where undefined.

    Args:
        confusion: (C, C) counts, rows are the truth.
    """
    right, true, called, images = np.diag(confusion), confusion.sum(1), confusion.sum(0), confusion.sum()
    with np.errstate(invalid="ignore"):
        return {
            "precision": right / called,
            "recall": right / true,
            "specificity": (images - true - called + right) / (images - true),
            "f1": 2 * right / (true + called),
        }


def ranking(truth: np.ndarray, scores: np.ndarray, fixed: float = FIXED) -> dict[str, float | None]:
    """What a class's probability is worth at any threshold; None where all images are in it, or none.

    Args:
        truth: (N,) bool. scores: (N,).
    """
    if not 0 < truth.sum() < len(truth):
        names = ("auc", "average_precision", "sensitivity_at_specificity", "specificity_at_sensitivity")
        return dict.fromkeys(names)
    sensitivity, specificity = at_fixed(truth, scores, fixed)
    return {
        "auc": sk.roc_auc_score(truth, scores),
        "average_precision": sk.average_precision_score(truth, scores),
        "sensitivity_at_specificity": sensitivity,
        "specificity_at_sensitivity": specificity,
    }


def at_fixed(truth: np.ndarray, scores: np.ndarray, fixed: float) -> tuple[float, float]:
    """The best sensitivity where specificity is at least `fixed`, and the best specificity where sensitivity is."""
    false, true, _ = sk.roc_curve(truth, scores, drop_intermediate=False)
    return float(true[1 - false >= fixed].max()), float((1 - false)[true >= fixed].max())


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> tuple[np.ndarray, ...]:
    """(B,) mean confidence, share that was right, and number of images of each bin of equal width; nan where empty.

    Of two classes the confidence is the positive one's probability and "right" means positive; of more it is the
    highest probability.
    """
    if probabilities.shape[1] == 2:
        confidence, right = probabilities[:, 1], labels == 1
    else:
        confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.clip(np.digitize(confidence, np.linspace(0, 1, bins + 1)) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return (
            np.bincount(place, confidence, bins) / count,
            np.bincount(place, right.astype(float), bins) / count,
            count,
        )


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: |confidence - share right|, averaged over images (Guo et al. 2017, eq. 3)."""
    confidence, right, count = reliability(labels, probabilities, bins)
    return float(np.nansum(np.abs(confidence - right) * count) / len(labels))


def _weighted_auc(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, threshold: float) -> np.ndarray:
    if probabilities.shape[1] == 2:
        return weighted_auc(labels == 1, probabilities[:, 1], weights)
    return _over_drawn([weighted_auc(labels == i, probabilities[:, i], weights) for i in np.unique(labels)])


def _weighted_accuracy(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, threshold: float
) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # a resample may have no image of a group
        return np.asarray(weights @ (decide(probabilities, threshold) == labels) / weights.sum(1))


def _weighted_balanced(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, threshold: float
) -> np.ndarray:
    right = decide(probabilities, threshold) == labels
    with np.errstate(invalid="ignore"):
        recalls = [weights @ (right & (labels == i)) / (weights @ (labels == i)) for i in np.unique(labels)]
    return _over_drawn(recalls)


def _over_drawn(by_class: list[np.ndarray]) -> np.ndarray:
    """(R,) means over the classes that a resample has: a rare one is missing in many. nan where it has none."""
    values, drawn = np.array(by_class), np.isfinite(by_class)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(drawn, values, 0).sum(0) / drawn.sum(0))


# What is resampled: of labels, probabilities, (R, N) weights and the threshold the (R,) values, nan where undefined.
Weighted = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]
RESAMPLED: dict[str, Weighted] = {
    "auc": _weighted_auc,
    "accuracy": _weighted_accuracy,
    "balanced_accuracy": _weighted_balanced,
}


def resampled_value(name: str) -> Weighted:
    """The weighted form of a metric.

    Raises:
        ValueError: it has none.
    """
    if name not in RESAMPLED:
        raise ValueError(f"metric={name!r}: expected one of {sorted(RESAMPLED)}")
    return RESAMPLED[name]


def words(metric: str) -> str:
    """A metric's name as people write it."""
    return "AUC" if metric == "auc" else metric.replace("_", " ")


def _mean(values: Any) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _plain(row: dict[str, Any]) -> dict[str, float | None]:
    return {k: None if v is None or np.isnan(v) else v if isinstance(v, int) else float(v) for k, v in row.items()}
