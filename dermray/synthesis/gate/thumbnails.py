"""What the pixel look compares: small images whose brightness, contrast and white balance are taken out."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 16  # px: noise and JPEG blocks are averaged away, and a crop of 10% is still two pixels
COARSE = 8  # px, by which candidates are found
CLOSE_UP = 0.9  # of each side: a training image is found by its whole and by its middle, of which a crop is a neighbour
FLAT = 4 / 255  # added to the contrast, so that the noise of an even surface is not blown up to a picture


def thumbnails(images: Tensor) -> Tensor:
    """(B, 3, S, S) uint8 of any S to (B, 3, 16, 16) uint8, by areas."""
    return F.adaptive_avg_pool2d(images.float(), SIDE).round().to(torch.uint8)


def standardised(images: Tensor) -> Tensor:
    """(B, 3, S, S) float in [0, 1] with mean 0 and standard deviation about 1 in each channel of each image."""
    centred = images - images.mean((2, 3), keepdim=True)
    return centred / (centred.square().mean((2, 3), keepdim=True).sqrt() + FLAT)


def described(thumbs: Tensor) -> np.ndarray:
    """(B, 3, 16, 16) in [0, 255] to (B, 192) float32, in which copies lie near each other before they are aligned."""
    coarse = F.avg_pool2d(thumbs.float() / 255, SIDE // COARSE)
    return standardised(coarse).flatten(1).numpy()


def close_ups(thumbs: Tensor) -> Tensor:
    """The middles of (B, 3, 16, 16) uint8 at the same size, float in [0, 255]."""
    grid = F.affine_grid(CLOSE_UP * torch.eye(2, 3).expand(len(thumbs), 2, 3), list(thumbs.shape), align_corners=False)
    return F.grid_sample(thumbs.float(), grid, padding_mode="border", align_corners=False)


def orientations(images: Tensor) -> list[Tensor]:
    """The eight quarter turns and mirror images of (..., S, S): training may have shown an image in any."""
    turned = [torch.rot90(images, k, (-2, -1)) for k in range(4)]
    return turned + [t.flip(-1) for t in turned]
