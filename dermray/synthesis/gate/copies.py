"""Copies of training images as a generator, a file format or a camera's software might change them.

They are planted to measure the gate: a kind that it misses is a kind of copy that would be published.
"""

import io
import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dermray.datasets.decode import decode

CROPPED = 0.1  # of each side
JPEG_QUALITY = 50
NOISE = 0.05  # standard deviation, of pixels in [0, 1]
TILT = (5.0, 15.0)  # degrees
GAINS = (0.8, 1.25)  # of each channel: about the white balances of two cameras
HUE = 0.05  # turns of the colour circle
BRIGHTNESS = (0.15, 0.35)  # lighter or darker by such a share

Change = Callable[[Tensor, np.random.Generator], Tensor]  # (3, S, S) float32 in [0, 1] to the same


def planted(image: Tensor, kind: str, seed: tuple[int, ...]) -> Tensor:
    """A copy of an image (3, S, S) uint8, changed as the kind says; the same seed makes the same copy."""
    changed = KINDS[kind](image.float() / 255, np.random.default_rng(seed))
    return (changed * 255).round().clamp(0, 255).to(torch.uint8)


def _same(image: Tensor, rng: np.random.Generator) -> Tensor:
    return image


def _mirrored(image: Tensor, rng: np.random.Generator) -> Tensor:
    return image.flip(int(rng.integers(1, 3)))


def _turned(image: Tensor, rng: np.random.Generator) -> Tensor:
    return torch.rot90(image, int(rng.integers(1, 4)), (1, 2))


def _tilted(image: Tensor, rng: np.random.Generator) -> Tensor:
    """What comes in at the corners is the image's own border."""
    angle = math.radians(rng.uniform(*TILT) * rng.choice([-1, 1]))
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])
    return _warped(image, turn)


def _cropped(image: Tensor, rng: np.random.Generator) -> Tensor:
    """A tenth of each side is cut off, somewhere, and the rest is as large as the whole was."""
    left, top = rng.uniform(-CROPPED, CROPPED, 2)
    return _warped(image, torch.tensor([[1 - CROPPED, 0, left], [0, 1 - CROPPED, top]]))


def _warped(image: Tensor, matrix: Tensor) -> Tensor:
    """The image seen through an affine matrix (2, 3) of coordinates in [-1, 1]."""
    grid = F.affine_grid(matrix[None].float(), [1, *image.shape], align_corners=False)
    return F.grid_sample(image[None], grid, mode="bicubic", padding_mode="border", align_corners=False)[0].clamp(0, 1)


def _recoloured(image: Tensor, rng: np.random.Generator) -> Tensor:
    from torchvision.transforms.v2 import functional as TF  # seconds, which processes that draw need not wait

    gains = torch.tensor(rng.uniform(*GAINS, 3), dtype=torch.float32).view(3, 1, 1)
    shown: Tensor = TF.adjust_hue((image * gains).clamp(0, 1), float(rng.uniform(-HUE, HUE)))
    return shown


def _jpeg(image: Tensor, rng: np.random.Generator) -> Tensor:
    sink, pixels = io.BytesIO(), (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(sink, "JPEG", quality=JPEG_QUALITY)
    return torch.from_numpy(np.asarray(decode(sink.getvalue())).copy()).permute(2, 0, 1).float() / 255


def _brighter(image: Tensor, rng: np.random.Generator) -> Tensor:
    return (image * float(1 + rng.uniform(*BRIGHTNESS) * rng.choice([-1, 1]))).clamp(0, 1)


def _noisy(image: Tensor, rng: np.random.Generator) -> Tensor:
    noise = rng.standard_normal(image.shape, np.float32)
    return (image + NOISE * torch.from_numpy(noise)).clamp(0, 1)


def _several(image: Tensor, rng: np.random.Generator) -> Tensor:
    for change in (_turned, _cropped, _recoloured, _jpeg):
        image = change(image, rng)
    return image


KINDS: dict[str, Change] = {
    "unchanged": _same,
    "mirrored": _mirrored,
    "quarter turn": _turned,
    "tilted 5 to 15 degrees": _tilted,
    "cropped 10%": _cropped,
    "recoloured": _recoloured,
    "JPEG 50": _jpeg,
    "lighter or darker": _brighter,
    "noise": _noisy,
    "turned, cropped, recoloured, JPEG": _several,
}
