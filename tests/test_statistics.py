from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from dermray import statistics
from dermray.statistics import (
    Components,
    auc_interval,
    cluster_interval,
    crossed,
    draws,
    holm,
    shuffled_groups,
    weighted_auc,
)


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
    whole = auc_interval(labels, scores, patients, 100, 7)
    monkeypatch.setattr(statistics, "CELLS", 7 * 60)
    assert whole is not None and auc_interval(labels, scores, patients, 100, 7) == whole


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
        interval = auc_interval(labels, rng.normal(labels, 1), [str(i) for i in range(150)], 200, seed)
        covered += interval is not None and interval[0] <= truth <= interval[1]
    assert 86 <= covered <= 100


def test_pictures_of_one_patient_are_not_independent() -> None:
    labels, scores = example(60, 1)
    often, repeated = np.repeat(labels, 4), np.repeat(scores, 4)
    alone = auc_interval(often, repeated, [str(i) for i in range(240)], 300, 0)
    grouped = auc_interval(often, repeated, [str(i // 4) for i in range(240)], 300, 0)
    assert alone and grouped and (grouped[1] - grouped[0]) > 1.5 * (alone[1] - alone[0])
    assert auc_interval(labels, scores, ["one patient"] * 60, 10, 0) is None


Variances = tuple[float, float, float]  # between runs, between clusters, of each run in each cluster


def measured(runs: int, clusters: int, variances: Variances, seed: int) -> np.ndarray:
    """(runs, clusters) observations of two crossed random effects and their interaction, of mean zero."""
    rng = np.random.default_rng(seed)
    run, cluster, both = (np.sqrt(v) for v in variances)
    shared = rng.normal(0, run, (runs, 1)) + rng.normal(0, cluster, (1, clusters))
    return np.asarray(shared + rng.normal(0, both, (runs, clusters)))


def resampled_means(observed: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    clusters = [str(i) for i in range(observed.shape[1])]
    return np.concatenate([observed @ weights.T / observed.shape[1] for weights in draws(clusters, resamples, seed)], 1)


@pytest.mark.parametrize(
    ("variances", "students"),
    [
        ((0.02, 0.0, 0.1), (0.91, 0.985)),  # seeds decide: Student's t over seeds is right as well
        ((0.002, 1.0, 0.5), (0.6, 0.85)),  # test images decide, which are the same for all seeds
        ((0.02, 1.0, 0.5), (0.8, 0.92)),
    ],
    ids=["seeds", "images", "both"],
)
def test_the_crossed_interval_covers_where_one_over_seeds_alone_does_not(
    variances: Variances, students: tuple[float, float]
) -> None:
    times, covered, by_seeds = 300, 0, 0
    for turn in range(times):
        observed = measured(4, 60, variances, turn)
        values = observed.mean(1)
        estimate = crossed(values, resampled_means(observed, 200, turn), 60)
        covered += estimate.low <= 0 <= estimate.high
        low, high = stats.ttest_1samp(values, 0).confidence_interval()
        by_seeds += low <= 0 <= high
    assert 0.91 <= covered / times <= 0.985  # 0.95 and three standard errors
    assert students[0] <= by_seeds / times <= students[1]


def test_the_variances_are_those_of_an_analysis_of_variance() -> None:
    observed = measured(6, 40, (0.3, 1.0, 0.5), 0)
    runs, clusters = observed.shape
    parts = crossed(observed.mean(1), resampled_means(observed, 40_000, 0), clusters).components
    rest = observed - observed.mean(0) - observed.mean(1, keepdims=True) + observed.mean()
    both = (rest**2).sum() / ((runs - 1) * (clusters - 1))  # mean squares of a two-way layout without repeats
    cluster = observed.mean(0).var(ddof=1) - both / runs
    run = observed.mean(1).var(ddof=1) - both / clusters
    assert parts.both * clusters == pytest.approx(both, rel=0.05)
    assert parts.cluster * clusters == pytest.approx(cluster, rel=0.05)
    assert parts.run == pytest.approx(run, rel=0.05)


def test_components_tell_the_error_of_a_larger_study() -> None:
    variances = (0.05, 0.8, 0.4)
    parts = Components(variances[0], variances[1] / 20, variances[2] / 20, runs=3, clusters=20)
    means = [measured(8, 50, variances, turn).mean() for turn in range(2000)]
    assert np.std(means) == pytest.approx(parts.standard_error(8, 50), rel=0.05)
    assert parts.degrees(8, 1_000_000) == pytest.approx(7, abs=0.1)  # the seeds alone are left


def test_one_run_tells_of_its_observations_only() -> None:
    observed = measured(1, 80, (0.0, 1.0, 0.0), 3)
    estimate = crossed(observed.mean(1), resampled_means(observed, 4000, 0), 80)
    told = stats.ttest_1samp(observed[0], 0)
    low, high = told.confidence_interval()
    assert [estimate.low, estimate.high] == pytest.approx([low, high], abs=0.02)
    assert estimate.p == pytest.approx(told.pvalue, abs=0.05) and estimate.degrees == pytest.approx(79)


def test_resamples_without_a_value_are_left_out() -> None:
    observed = measured(3, 30, (0.1, 1.0, 0.2), 0)
    again = resampled_means(observed, 300, 0)
    with_holes = np.insert(again, [5, 5, 90], np.nan, axis=1)
    with_holes[1:, 5] = 1e9  # missing for one run only
    assert crossed(observed.mean(1), with_holes, 30) == crossed(observed.mean(1), again, 30)
    with pytest.raises(ValueError, match="1 clusters, 300 resamples with a value: expected at least 2 of both"):
        crossed(observed.mean(1), again, 1)
    with pytest.raises(ValueError, match="30 clusters, 0 resamples"):
        crossed(observed.mean(1), np.full((3, 9), np.nan), 30)


def test_no_difference_at_all_is_no_finding() -> None:
    assert crossed(np.zeros(3), np.zeros((3, 50)), 20).p == 1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1, 1] and holm([]) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferronis(p: list[float]) -> None:
    """A hypothesis is rejected where every set of hypotheses that holds it is (Marcus, Peritz and Gabriel 1976)."""
    sets = [[i for i in range(len(p)) if number >> i & 1] for number in range(1, 1 << len(p))]
    bonferroni = [min(1, len(chosen) * min(p[i] for i in chosen)) for chosen in sets]
    closed = [max(b for b, chosen in zip(bonferroni, sets, strict=True) if i in chosen) for i in range(len(p))]
    assert holm(p) == pytest.approx(closed)


def test_shuffled_groups_keep_together() -> None:
    groups = np.repeat(np.arange(50), 1 + np.arange(50) % 4).astype(str)
    values = np.arange(50)[np.unique(groups, return_inverse=True)[1]]
    mixed = shuffled_groups(values, list(groups), np.random.default_rng(0))
    assert sorted(mixed) == sorted(values) and not np.array_equal(mixed, values)
    order = np.argsort(groups, kind="stable")
    blocks = np.split(mixed[order], np.flatnonzero(np.diff(mixed[order])) + 1)
    assert len(blocks) == 50, "no group was torn"
