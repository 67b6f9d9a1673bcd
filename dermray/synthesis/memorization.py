"""Is a synthetic image a copy of a training image? Its distance to the nearest one, beside real images' distances.

Distances are root mean squares over pixels in [0, 1], the smallest over the eight orientations in which training
may have shown an image. The gate is a low quantile of the distances of real images outside the train split: what
lies nearer to a training image than nearly all independent photographs do is not to be trusted as new.
"""

import numpy as np
import torch
from torch import Tensor


def nearest(images: Tensor, training: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Distance to, and number of, the nearest training image.

    Args:
        images: (B, 3, S, S) uint8. training: (N, 3, S, S) uint8.

    Returns:
        (B,) float32 and (B,) int64.
    """
    targets = training.flatten(1).float() / 255
    best = torch.full((len(images),), float("inf"))
    index = torch.zeros(len(images), dtype=torch.int64)
    for turned in orientations(images):
        distance, found = torch.cdist(turned.flatten(1).float() / 255, targets).min(1)
        better = distance < best
        best, index = torch.where(better, distance, best), torch.where(better, found, index)
    return (best / targets.shape[1] ** 0.5).numpy(), index.numpy()


def orientations(images: Tensor) -> list[Tensor]:
    """The eight quarter turns and mirror images of (B, C, S, S)."""
    turned = [torch.rot90(images, k, (2, 3)) for k in range(4)]
    return turned + [t.flip(3) for t in turned]


def gate(real_distances: np.ndarray, quantile: float) -> float:
    """The distance below which an image counts as a copy."""
    return float(np.quantile(real_distances, quantile))
