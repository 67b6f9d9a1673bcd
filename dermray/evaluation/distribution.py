"""Distances between two sets of images in a classifier's features, always beside their floor and their N.

torch-fidelity computes both. The Frechet distance of few images is mostly bias, so it is only ever compared with
the distance between two halves of real images of the same number (the floor).
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from dermray.statistics import draws

BOOTSTRAPS = 10


@dataclass(frozen=True)
class Distances:
    """Synthetic against real, and real against real, `images` on each side."""

    images: int
    frechet_distance: float
    frechet_interval: tuple[float, float]  # smallest and largest of bootstrap resamples: biased upwards
    frechet_floor: float
    kernel_distance: float
    kernel_floor: float

    def as_dict(self) -> dict[str, object]:
        """For a manifest."""
        return asdict(self)


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Frechet distance of two Gaussians fitted to features (N, D)."""
    statistics = [fid_features_to_statistics(x) for x in (a, b)]
    return float(fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"])


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Mean squared maximum mean discrepancy with torch-fidelity's cubic kernel over subsets of (N, D) features."""
    size = min(len(a), len(b), 1000)
    found = kid_features_to_metric(a, b, kid_subsets=50, kid_subset_size=max(2, size // 2), verbose=False)
    return float(found["kernel_inception_distance_mean"])


def compare(real: Tensor, synthetic: Tensor, seed: int) -> Distances:
    """Both distances with their floors, at the largest number of images that allows two disjoint real halves.

    Args:
        real, synthetic: features (N, D) and (M, D).

    Raises:
        ValueError: fewer than four real or two synthetic images.
    """
    count = min(len(real) // 2, len(synthetic))
    if count < 2:
        raise ValueError(f"{len(real)} real and {len(synthetic)} synthetic images: expected at least 4 and 2")
    order = torch.Generator().manual_seed(seed)
    real = real[torch.randperm(len(real), generator=order)]
    synthetic = synthetic[torch.randperm(len(synthetic), generator=order)][:count]
    first, second = real[:count], real[count : 2 * count]
    images = [str(number) for number in range(count)]  # each its own cluster: none shows another's lesion
    resampled = [
        frechet_distance(first, synthetic.repeat_interleave(torch.from_numpy(times), 0))
        for weights in draws(images, BOOTSTRAPS, seed)
        for times in weights.astype(int)
    ]
    return Distances(
        count,
        frechet_distance(first, synthetic),
        (min(resampled), max(resampled)),
        frechet_distance(first, second),
        kernel_distance(first, synthetic),
        kernel_distance(first, second),
    )
