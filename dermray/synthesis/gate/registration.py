"""How far two small images are apart once the one is laid over the other as well as a small affine change can.

Inverse compositional alignment (Baker and Matthews, "Lucas-Kanade 20 years on", 2004) from coarse to fine. A copy that
was cropped or tilted a little lies nearly on its original; another image gains little by being moved.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from dermray.synthesis.gate.thumbnails import COARSE, SIDE, standardised

LEVELS = ((COARSE, 6), (SIDE, 4))  # px a side, and steps there
FARTHEST = 0.35  # change of any entry of the matrix, in half widths of the image: beyond, it is another picture
STEP = 0.3  # ... at once
DAMPING = 1e-3


def residuals(images: Tensor, others: Tensor) -> Tensor:
    """Root mean square difference of standardised pixels, after the best alignment that was met.

    Args:
        images, others: (P, 3, 16, 16) uint8, compared pair by pair.

    Returns:
        (P,) float32: 0 for equal images, about 1.4 for images that have nothing in common.
    """
    still, moved = images.float() / 255, others.float() / 255
    matrix = torch.eye(2, 3).repeat(len(images), 1, 1)
    left = torch.empty(0)
    for side, steps in LEVELS:
        matrix, left = _aligned(_at(still, side), _at(moved, side), matrix, steps)
    return left


def _at(images: Tensor, side: int) -> Tensor:
    return images if side == images.shape[-1] else F.avg_pool2d(images, images.shape[-1] // side)


def _aligned(still: Tensor, moved: Tensor, matrix: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The best of the matrices (P, 2, 3) that so many steps come to, and what is left there."""
    template = standardised(still)
    descent = _steepest(template)  # (P, pixels, 6); it does not change, which is what makes the method cheap
    hessian = descent.mT @ descent
    hessian += DAMPING * (torch.diag_embed(hessian.diagonal(dim1=1, dim2=2)) + torch.eye(6))
    best, least = matrix, torch.full((len(still),), torch.inf)
    for step in range(steps + 1):
        grid = F.affine_grid(matrix, list(still.shape), align_corners=False)
        warped = F.grid_sample(moved, grid, padding_mode="border", align_corners=False)
        error = (standardised(warped) - template).flatten(1)
        left = error.square().mean(1).sqrt()
        better = (left < least) & ((matrix - torch.eye(2, 3)).abs().amax((1, 2)) < FARTHEST)
        best, least = torch.where(better[:, None, None], matrix, best), torch.where(better, left, least)
        if step < steps:
            change = torch.linalg.solve(hessian, descent.mT @ error[:, :, None])[:, :, 0].view(-1, 2, 3)
            matrix = _composed(matrix, change.clamp(-STEP, STEP))
    return best, least


def _steepest(template: Tensor) -> Tensor:
    """How each pixel changes with each entry of the matrix, (P, pixels, 6); coordinates are in [-1, 1]."""
    side = template.shape[-1]
    places = (torch.arange(side) + 0.5) / side * 2 - 1
    down, across = torch.gradient(template, dim=(2, 3))
    down, across = down * side / 2, across * side / 2
    x, y = places.view(1, 1, 1, -1), places.view(1, 1, -1, 1)
    return torch.stack([across * x, across * y, across, down * x, down * y, down], -1).flatten(1, 3)


def _composed(matrix: Tensor, change: Tensor) -> Tensor:
    """The matrix after the inverse of (identity + change), each (P, 2, 3)."""
    last = torch.tensor([0.0, 0.0, 1.0]).expand(len(matrix), 1, 3)
    changed = torch.cat([torch.eye(2, 3) + change, last], 1)
    return (torch.cat([matrix, last], 1) @ torch.linalg.inv(changed))[:, :2]
