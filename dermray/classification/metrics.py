"""Metrics of a binary classifier, over all images and per group, with bootstrap intervals.

scikit-learn and fairlearn compute the point estimates. Intervals resample leak groups, not images: two pictures of
one patient are not two observations.
"""

from typing import Any

import numpy as np
from fairlearn.metrics import MetricFrame
from scipy.stats import rankdata
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

THRESHOLD = 0.5


def auc_or_none(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the ROC curve, or None where one class is missing."""
    return float(roc_auc_score(labels, scores)) if len(np.unique(labels)) == 2 else None


def point_metrics(labels: np.ndarray, scores: np.ndarray, groups: list[str]) -> dict[str, Any]:
    """Overall and per group: auc, balanced_accuracy, sensitivity, specificity (at 0.5), images; and the largest gaps.

    Args:
        labels: (N,) bool, malignant. scores: (N,) in [0, 1]. groups: N names, such as skin tones.
    """
    frame = MetricFrame(
        metrics={
            "auc": auc_or_none,
            "balanced_accuracy": lambda y, s: (
                float(balanced_accuracy_score(y, s >= THRESHOLD)) if len(set(y)) == 2 else None
            ),
            "sensitivity": lambda y, s: float(recall_score(y, s >= THRESHOLD, zero_division=np.nan)),
            "specificity": lambda y, s: float(recall_score(y, s >= THRESHOLD, pos_label=0, zero_division=np.nan)),
            "images": lambda y, s: len(y),
        },
        y_true=labels.astype(int),
        y_pred=scores,
        sensitive_features=np.array(groups),
    )
    by_group = {str(name): _plain(row) for name, row in frame.by_group.to_dict("index").items()}
    aucs = [row["auc"] for row in by_group.values() if row["auc"] is not None]
    gap = max(aucs) - min(aucs) if len(aucs) > 1 else None
    return {"overall": _plain(frame.overall.to_dict()), "groups": by_group, "auc_gap": gap}


def _plain(row: dict[str, Any]) -> dict[str, float | None]:
    return {k: None if v is None or np.isnan(v) else float(v) for k, v in row.items()}


def bootstrap_auc(
    labels: np.ndarray, scores: np.ndarray, clusters: list[str], resamples: int, seed: int
) -> tuple[float, float] | None:
    """95% percentile interval of the AUC, averaged over the rows of `scores` (models), resampling whole clusters.

    Args:
        labels: (N,) bool. scores: (M, N). clusters: N names.

    Returns:
        None where fewer than two clusters of either class exist.
    """
    names, member = np.unique(np.array(clusters), return_inverse=True)
    if min(len(set(member[labels])), len(set(member[~labels]))) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)  # (R, clusters)
    weights = drawn[:, member].astype(float)  # (R, N): how often each image was drawn
    values = np.mean([weighted_auc(labels, row, weights) for row in scores], axis=0)
    values = values[~np.isnan(values)]
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


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
