"""How well the words alone give the diagnosis away."""

from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from dermray.statistics import auc_interval, shuffled_groups

RESAMPLES = 500


def label_leak(texts: list[str], labels: np.ndarray, groups: list[str], folds: int, seed: int) -> dict[str, Any]:
    """AUC with which a text classifier predicts malignancy from captions of patients it has not seen.

    TF-IDF of words and pairs of words into a logistic regression, grouped cross-validation. The interval resamples
    leak groups. The floor is the same with the groups' labels shuffled: `floor` is the mean of 20 shuffles and
    `floor_high` their 97.5% quantile. Rows of a group keep their labels together, as rows of a patient share theirs:
    shuffled one by one they would count as so many independent rows, and the floor would be too narrow.

    Args:
        labels: (N,) bool, malignant. groups: N leak groups.

    Returns:
        auc, low, high, floor, floor_high, texts; or only `reason` where a class has too few groups.
    """
    few = min(len({g for g, y in zip(groups, labels, strict=True) if y == side}) for side in (True, False))
    if few < folds:
        return {"reason": f"{few} leak groups in the rarer class: {folds} folds need at least as many"}
    scores = _out_of_fold(texts, labels, groups, folds, seed)
    low, high = auc_interval(labels, scores, groups, RESAMPLES, seed) or (None, None)
    rng = np.random.default_rng(seed)
    shuffled = []
    for turn in range(20):
        mixed = shuffled_groups(labels, groups, rng)
        shuffled.append(roc_auc_score(mixed, _out_of_fold(texts, mixed, groups, folds, seed + turn)))
    return {
        "auc": float(roc_auc_score(labels, scores)),
        "low": low,
        "high": high,
        "floor": float(np.mean(shuffled)),
        "floor_high": float(np.quantile(shuffled, 0.975)),
        "texts": len(texts),
    }


def _out_of_fold(texts: list[str], labels: np.ndarray, groups: list[str], folds: int, seed: int) -> np.ndarray:
    """(N,) scores, each by a classifier that saw no row of the same group."""
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=50_000),
        LogisticRegression(max_iter=1000, class_weight="balanced"),
    )
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, np.array(texts), labels, groups=groups, cv=split, method="decision_function")
    return np.asarray(scores)
