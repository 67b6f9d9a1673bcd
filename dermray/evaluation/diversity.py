"""MS-SSIM over random pairs of one class: the lower, the more diverse. Meaningful only beside the real value."""

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003


def scales_and_kernel(size: int) -> tuple[int, int]:
    """As many of the five scales as `size` px allow with a kernel of 11, or of 5 on the smallest images."""
    kernel = 11 if size > 22 * 2 else 5
    scales = max(n for n in range(1, 6) if size // max(1, n - 1) ** 2 >= kernel)  # torchmetrics' own bound
    return scales, kernel


def ms_ssim(images: Tensor, classes: list[str], pairs: int, seed: int) -> dict[str, float | int]:
    """Mean over random pairs within classes, with the settings it was measured by.

    Args:
        images: (N, 3, S, S) uint8.

    Raises:
        ValueError: no class has two images.
    """
    members = defaultdict(list)
    for number, name in enumerate(classes):
        members[name].append(number)
    rng = np.random.default_rng(seed)
    groups = [group for _, group in sorted(members.items()) if len(group) > 1]
    if not groups:
        raise ValueError("no class has two images: diversity needs pairs")
    pairs_drawn = [rng.choice(groups[i % len(groups)], 2, replace=False) for i in range(pairs)]
    drawn = torch.from_numpy(np.stack(pairs_drawn))
    scales, kernel = scales_and_kernel(images.shape[-1])
    a, b = (images[drawn[:, side]].float() / 255 for side in (0, 1))
    betas = tuple(beta / sum(BETAS[:scales]) for beta in BETAS[:scales])
    value = multiscale_structural_similarity_index_measure(
        a,
        b,
        gaussian_kernel=True,
        sigma=1.5 * kernel / 11,
        kernel_size=kernel,
        betas=betas,
        data_range=1.0,
        normalize="relu",
    )
    return {"ms_ssim": float(value), "pairs": pairs, "scales": scales, "kernel": kernel}
