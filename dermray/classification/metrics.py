"""Metrics of a binary classifier, over all images and per group, as scikit-learn and fairlearn compute them."""

from typing import Any

import numpy as np
from fairlearn.metrics import MetricFrame
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
