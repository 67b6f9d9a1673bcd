import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

from dermray.classification.metrics import bootstrap_auc, point_metrics, weighted_auc


def example(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < 0.4
    labels[:2] = True, False
    return labels, np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 1)  # with ties


@settings(max_examples=50, deadline=None)
@given(st.integers(5, 80), st.integers(0, 1000))
def test_weighted_auc_equals_sklearn(count: int, seed: int) -> None:
    labels, scores = example(count, seed)
    weights = np.random.default_rng(seed).integers(0, 4, (3, count)).astype(float)
    weights[:, :2] = 1
    for row, found in zip(weights, weighted_auc(labels, scores, weights), strict=True):
        assert found == pytest.approx(roc_auc_score(labels, scores, sample_weight=row))


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


def test_the_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    from scipy.stats import norm

    truth, covered = norm.cdf(1 / np.sqrt(2)), 0  # unit-variance normals one apart
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels = rng.random(150) < 0.5
        low, high = bootstrap_auc(labels, rng.normal(labels, 1)[None], [str(i) for i in range(150)], 200, seed) or (
            0,
            0,
        )
        covered += low <= truth <= high
    assert 86 <= covered <= 100


def test_pictures_of_one_patient_are_not_independent() -> None:
    labels, scores = example(60, 1)
    often = np.repeat(labels, 4), np.repeat(scores, 4)
    alone = bootstrap_auc(*_one(often), [str(i) for i in range(240)], 300, 0)
    grouped = bootstrap_auc(*_one(often), [str(i // 4) for i in range(240)], 300, 0)
    assert alone and grouped and (grouped[1] - grouped[0]) > 1.5 * (alone[1] - alone[0])
    assert bootstrap_auc(labels, scores[None], ["one patient"] * 60, 10, 0) is None


def _one(pair: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return pair[0], pair[1][None]
