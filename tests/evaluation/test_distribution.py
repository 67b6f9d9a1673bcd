import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from dermray.evaluation.distribution import compare, frechet_distance, kernel_distance


def gaussian(count: int, width: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + shift


def test_frechet_distance_by_the_formula() -> None:
    a, b = gaussian(400, 12, 0).numpy(), 1.5 * gaussian(300, 12, 1, 0.3).numpy()
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert frechet_distance(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("count", "expected"), [(300, 111), (5000, 6.67)])
def test_few_images_are_mostly_bias(count: int, expected: float) -> None:
    """Two samples of the same 256-dimensional Gaussian (the formula by hand gives the same)."""
    assert frechet_distance(gaussian(count, 256, 0), gaussian(count, 256, 1)) == pytest.approx(expected, rel=0.05)


def test_kernel_distance_has_no_such_bias() -> None:
    assert abs(kernel_distance(gaussian(300, 32, 0), gaussian(300, 32, 1))) < 0.02
    assert kernel_distance(gaussian(300, 32, 0), gaussian(300, 32, 1, 1.0)) > 0.3


def test_everything_beside_its_floor_at_the_same_number() -> None:
    found = compare(gaussian(500, 16, 0), gaussian(180, 16, 1, 0.5), seed=0)
    assert found.images == 180
    assert found.frechet_distance > 3 * found.frechet_floor
    assert found.frechet_interval[0] <= found.frechet_interval[1]
    same = compare(gaussian(500, 16, 0), gaussian(250, 16, 1), seed=0)
    assert 0.5 < same.frechet_distance / same.frechet_floor < 2


def test_too_few_images() -> None:
    with pytest.raises(ValueError, match="3 real and 9 synthetic"):
        compare(gaussian(3, 4, 0), gaussian(9, 4, 1), 0)
