"""Pixels as Pillow's images and back: what timm, transformers and the classify stage resize with."""

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor


def pictures(images: Tensor) -> list[Image.Image]:
    """(B, 3, H, W) uint8 on the CPU as B images."""
    return [Image.fromarray(image) for image in images.permute(0, 2, 3, 1).contiguous().numpy()]


def each(prepared: Callable[[Image.Image], Tensor]) -> Callable[[Tensor], Tensor]:
    """The preparation of a batch by that of one image."""
    return lambda images: torch.stack([prepared(picture) for picture in pictures(images)])
