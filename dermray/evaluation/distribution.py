"""Distances between real and synthetic images in one extractor's features, always beside their floor and their N.

The Frechet distance of few images is mostly bias, so it says something only beside the distance between two halves of
real images of the same number (the floor); rows of a leak group lie in one half. `frechet_all` takes all images of both
sides, as papers do, and has no floor.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from dermray.evaluation.extraction import PARTS
from dermray.evaluation.frechet import Reference, interval, without_each
from dermray.evaluation.moments import Moments, Slots, total
from dermray.evaluation.stored import Stored

NEIGHBOURS = 3  # of precision and recall (Kynkaanniemi et al. 2019)
KID_SUBSETS, KID_SUBSET = 50, 500
Interval = tuple[float, float]


@dataclass(frozen=True)
class Distances:
    """Synthetic against real, and real against real, `images` on each side.

    Intervals are 95%, by leaving out each of ten random parts of all sides; None where leak groups are too few for it.
    """

    images: int
    real: int  # of which there were so many
    synthetic: int
    full_rank: bool  # whether images are more than the features' dimensions; if not, the distance is bias above all
    frechet_distance: float
    frechet_interval: Interval | None
    frechet_floor: float
    frechet_excess: float  # over the floor
    frechet_excess_interval: Interval | None
    frechet_all: float  # of all real and all synthetic images
    sample: int  # images a side in what follows
    kernel_distance: float
    kernel_spread: float  # standard deviation over subsets
    kernel_floor: float
    precision: float  # share of synthetic images that lie among the real ones
    recall: float  # share of real images that lie among the synthetic ones
    precision_floor: float
    recall_floor: float

    def as_dict(self) -> dict[str, Any]:
        """For a manifest."""
        return asdict(self)


@dataclass(frozen=True)
class TooFew:
    """Why there is no distance."""

    real: int
    synthetic: int
    not_computed: str

    def as_dict(self) -> dict[str, Any]:
        """For a manifest."""
        return asdict(self)


def compare(real: Stored, synthetic: Stored, min_images: int, max_images: int) -> Distances | TooFew:
    """All distances, at the largest number of images that allows two disjoint real halves.

    Args:
        min_images: a side, with fewer nothing is computed. max_images: a side, of the kernel distance, precision and
            recall, whose memory grows with them.
    """
    sides = ((real, 0), (real, 1), (synthetic, None))
    first, second, drawn = (images.count(half) for images, half in sides)
    count, few = min(first, second, drawn), min(first, second, drawn, max_images)
    if count < min_images:
        return TooFew(
            first + second,
            drawn,
            f"{first + second} real images in halves of {first} and {second}, {drawn} synthetic ones: expected at "
            f"least {min_images} in each (min_images)",
        )
    parts, everything = _moments(real, synthetic, [images.limit(count, half) for images, half in sides])
    sample = [images.least(few, half) for images, half in sides]
    found: dict[str, Any] = _frechet(parts) | _by_pairs(*(torch.from_numpy(features) for features in sample))
    return Distances(
        images=count,
        real=first + second,
        synthetic=drawn,
        full_rank=count > len(everything[0].mean),
        frechet_all=Reference(everything[0]).distance(everything[1]),
        sample=few,
        **found,
    )


def _moments(
    real: Stored, synthetic: Stored, limits: list[np.uint64]
) -> tuple[list[list[Moments]], tuple[Moments, Moments]]:
    """Of the parts of both real halves and of the synthetic images up to the limits; and of all images of both kinds.

    In one reading of each kind: 32 matrices of D x D numbers, whatever the number of images."""
    of_real = _stream(real, np.array(limits[:2]).repeat(PARTS))
    of_synthetic = _stream(synthetic, np.array(limits[2:]).repeat(PARTS))
    return [of_real[:PARTS], of_real[PARTS:-1], of_synthetic[:-1]], (total(of_real), total(of_synthetic))


def _stream(images: Stored, limits: np.ndarray) -> list[Moments]:
    """Moments by part of the images up to the limit of their part, and last those of the others.

    Args:
        limits: keys, one a part; the parts of both halves, or half as many, to which two parts go together.
    """
    found: Slots | None = None
    for block in images.blocks("key", "part", images.features):
        features, parts = block[images.features], block["part"].astype(int) % len(limits)
        found = found or Slots(len(limits) + 1, features.shape[1])
        found.add(features, np.where(block["key"] <= limits[parts], parts, len(limits)))
    assert found is not None
    return found.moments()


def _frechet(parts: list[list[Moments]]) -> dict[str, Any]:
    """The distance, its floor, and what both are where each part is left out in turn."""
    reference, other, synthetic = (total(side) for side in parts)
    against = Reference(reference)
    distance, floor = against.distance(synthetic), against.distance(other)
    found: dict[str, Any] = {
        "frechet_distance": distance,
        "frechet_interval": None,
        "frechet_floor": floor,
        "frechet_excess": distance - floor,
        "frechet_excess_interval": None,
    }
    if any(sum(part.count for part in side) - max(part.count for part in side) < 2 for side in parts):
        return found
    distances, floors = [], []
    for first, second, drawn in zip(*(without_each(side) for side in parts), strict=True):
        left = Reference(first)
        distances.append(left.distance(drawn))
        floors.append(left.distance(second))
    low, high = interval(distance, distances)
    excess = [a - b for a, b in zip(distances, floors, strict=True)]
    return found | {
        "frechet_interval": (max(low, 0.0), high),
        "frechet_excess_interval": interval(distance - floor, excess),
    }


def _by_pairs(real: torch.Tensor, other: torch.Tensor, synthetic: torch.Tensor) -> dict[str, float]:
    """What needs distances between images: of (n, D) features a side."""
    kernel, spread = kernel_distance(real, synthetic)
    precision, recall = precision_recall(synthetic, real)
    precision_floor, recall_floor = precision_recall(other, real)
    return {
        "kernel_distance": kernel,
        "kernel_spread": spread,
        "kernel_floor": kernel_distance(real, other)[0],
        "precision": precision,
        "recall": recall,
        "precision_floor": precision_floor,
        "recall_floor": recall_floor,
    }


def kernel_distance(a: torch.Tensor, b: torch.Tensor) -> tuple[float, float]:
    """Mean and standard deviation, over subsets of (N, D) features, of the squared maximum mean discrepancy with
    torch-fidelity's cubic kernel. It has no bias by N, and may be negative."""
    size = min(max(2, min(len(a), len(b)) // 2), KID_SUBSET)
    found = kid_features_to_metric(a, b, kid_subsets=KID_SUBSETS, kid_subset_size=size, verbose=False)
    return float(found["kernel_inception_distance_mean"]), float(found["kernel_inception_distance_std"])


def precision_recall(synthetic: torch.Tensor, real: torch.Tensor) -> tuple[float, float]:
    """torch-fidelity's, of (N, D) features: memory grows with N x N."""
    found = prc_features_to_metric(synthetic, real, prc_neighborhood=NEIGHBOURS, save_cpu_ram=True, verbose=False)
    return float(found["precision"]), float(found["recall"])
