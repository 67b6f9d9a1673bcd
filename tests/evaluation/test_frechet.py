import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from dermray.evaluation.frechet import frechet, interval, without_each
from dermray.evaluation.moments import Moments, total


def gaussian(count: int, width: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, width))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return frechet(Moments.of(a), Moments.of(b))


def theirs(a: np.ndarray, b: np.ndarray) -> float:
    statistics = [fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)]
    return float(fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"])


def test_by_the_formula() -> None:
    a, b = gaussian(400, 12, 0), 1.5 * gaussian(300, 12, 1, 0.3)
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert distance(a, b) == pytest.approx(expected, rel=1e-9)


@given(
    first=st.integers(2, 90),
    second=st.integers(2, 90),
    width=st.integers(1, 60),
    scale=st.floats(0.01, 100),
    seed=st.integers(0, 2**20),
)
def test_that_of_torch_fidelity_with_more_and_fewer_images_than_dimensions(
    first: int, second: int, width: int, scale: float, seed: int
) -> None:
    a, b = gaussian(first, width, seed), scale * gaussian(second, width, seed + 1, 0.2)
    if width > 1:  # of one dimension theirs fails: np.cov gives a number
        spread = np.trace(np.cov(a, rowvar=False)) + np.trace(np.cov(b, rowvar=False))
        assert distance(a, b) == pytest.approx(theirs(a, b), rel=1e-6, abs=1e-6 * spread)


@pytest.mark.parametrize(("count", "expected"), [(300, 111), (5000, 6.67)])
def test_few_images_are_mostly_bias(count: int, expected: float) -> None:
    """Two samples of the same 256-dimensional Gaussian (the formula by hand gives the same)."""
    assert distance(gaussian(count, 256, 0), gaussian(count, 256, 1)) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("count", "width", "samples", "least", "most"),
    [(400, 4, 200, 0.8, 1.2), (100, 48, 60, 0.9, 1.8)],  # where images are few beside dimensions it is too wide
)
def test_the_interval_covers_what_other_images_would_have_given(
    count: int, width: int, samples: int, least: float, most: float
) -> None:
    """Over pairs of samples of two known Gaussians: the spread is right, and the mean lies in nine of ten."""
    values, found = [], []
    for seed in range(samples):
        sides = [gaussian(count, width, 2 * seed), gaussian(count, width, 2 * seed + 1, 0.4)]
        parts = [[Moments.of(part) for part in np.split(side, 10)] for side in sides]
        value = frechet(total(parts[0]), total(parts[1]))
        pairs = zip(without_each(parts[0]), without_each(parts[1]), strict=True)
        values.append(value)
        found.append(interval(value, [frechet(a, b) for a, b in pairs]))
    low, high = np.array(found).T
    assert least < np.mean(high - low) / 2 / 2.262 / np.std(values) < most  # Student's t of 9
    assert np.mean((low <= np.mean(values)) & (np.mean(values) <= high)) > 0.9
