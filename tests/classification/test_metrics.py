import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

from dermray.classification.metrics import point_metrics


def example(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < 0.4
    labels[:2] = True, False
    return labels, np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 1)  # with ties


def test_point_metrics_equal_sklearn_overall_and_per_group() -> None:
    labels, scores = example(300, 0)
    groups = np.array(["A", "B", "C"])[np.arange(300) % 3]
    found = point_metrics(labels, scores, list(groups))
    for rows, metrics in [(np.ones(300, bool), found["overall"]), *((groups == g, found["groups"][g]) for g in "ABC")]:
        y, s = labels[rows], scores[rows]
        assert metrics["auc"] == pytest.approx(roc_auc_score(y, s))
        assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, s >= 0.5))
        assert metrics["sensitivity"] == pytest.approx(recall_score(y, s >= 0.5))
        assert metrics["specificity"] == pytest.approx(recall_score(~y, s < 0.5))
        assert metrics["images"] == rows.sum()
    aucs = [found["groups"][g]["auc"] for g in "ABC"]
    assert found["auc_gap"] == pytest.approx(max(aucs) - min(aucs))


def test_a_group_of_one_class_has_no_auc() -> None:
    labels, scores = np.array([True, False, True, True]), np.array([0.9, 0.1, 0.8, 0.7])
    found = point_metrics(labels, scores, ["A", "A", "B", "B"])
    assert found["groups"]["B"]["auc"] is None and found["groups"]["B"]["specificity"] is None
