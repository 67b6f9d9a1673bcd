from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from dermray import statistics
from dermray.statistics import auc_interval, cluster_interval, weighted_auc


def example(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < 0.4
    labels[:2] = True, False
    return labels, np.round(rng.normal(labels, 1), 1)  # rounded: ties


def mean_of(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda weights: weights @ values / weights.sum(1)


def test_of_independent_observations_it_is_scipys_bootstrap() -> None:
    values = np.random.default_rng(0).normal(3, 2, 80)
    low, high = cluster_interval(mean_of(values), [str(i) for i in range(80)], 4000, 0)
    told = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert [low, high] == pytest.approx([told.low, told.high], abs=0.05)  # of a width of 0.9


def test_repeated_observations_of_a_cluster_tell_no_more_than_one() -> None:
    values = np.random.default_rng(0).normal(3, 2, 80)
    low, high = cluster_interval(mean_of(np.repeat(values, 5)), [str(i // 5) for i in range(400)], 4000, 0)
    reach = stats.norm.ppf(0.975) * values.std() / np.sqrt(80)
    assert [low, high] == pytest.approx([values.mean() - reach, values.mean() + reach], abs=0.05)


def test_it_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores = example(60, 1)
    patients = [str(i // 3) for i in range(60)]
    whole = auc_interval(labels, scores[None], patients, 100, 7)
    monkeypatch.setattr(statistics, "CELLS", 7 * 60)
    assert whole is not None and auc_interval(labels, scores[None], patients, 100, 7) == whole


@settings(max_examples=50, deadline=None)
@given(st.integers(5, 80), st.integers(0, 1000))
def test_weighted_auc_equals_sklearn(count: int, seed: int) -> None:
    labels, scores = example(count, seed)
    weights = np.random.default_rng(seed).integers(0, 4, (3, count)).astype(float)
    weights[:, :2] = 1
    for row, auc in zip(weights, weighted_auc(labels, scores, weights), strict=True):
        assert auc == pytest.approx(roc_auc_score(labels, scores, sample_weight=row))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth, covered = stats.norm.cdf(1 / np.sqrt(2)), 0  # unit-variance normals one apart
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels = rng.random(150) < 0.5
        interval = auc_interval(labels, rng.normal(labels, 1)[None], [str(i) for i in range(150)], 200, seed)
        covered += interval is not None and interval[0] <= truth <= interval[1]
    assert 86 <= covered <= 100


def test_pictures_of_one_patient_are_not_independent() -> None:
    labels, scores = example(60, 1)
    often, repeated = np.repeat(labels, 4), np.repeat(scores, 4)[None]
    alone = auc_interval(often, repeated, [str(i) for i in range(240)], 300, 0)
    grouped = auc_interval(often, repeated, [str(i // 4) for i in range(240)], 300, 0)
    assert alone and grouped and (grouped[1] - grouped[0]) > 1.5 * (alone[1] - alone[0])
    assert auc_interval(labels, scores[None], ["one patient"] * 60, 10, 0) is None
