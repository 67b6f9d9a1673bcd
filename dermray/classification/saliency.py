"""Which parts of an image a classifier's answer depends on: occlusion (Zeiler and Fergus 2014, section 4.2).

One square after another is covered by the image's mean colour, and the probability of the predicted class measured.
Chosen over gradients: it asks the whole network the question that a reader of the picture asks, works with every
backbone, and is the same each time. It explains the model and not the disease.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

GRID = 8  # squares a side
SIDE = 256  # px of the picture at least
METHOD = (
    f"occlusion (Zeiler and Fergus 2014): the probability of the predicted class falls (red) or rises (blue) where one "
    f"of {GRID} x {GRID} squares is covered by the image's mean colour. It explains the model and not the disease."
)


def occlusion(probability: Callable[[np.ndarray], np.ndarray], image: np.ndarray, grid: int = GRID) -> np.ndarray:
    """(grid, grid) float64: by how much the probability falls where a square is covered.

    Args:
        probability: (B, 3, S, S) uint8 to (B,). image: (3, S, S) uint8.
    """
    edges = np.linspace(0, image.shape[1], grid + 1).round().astype(int)
    mean = image.mean((1, 2)).round().astype(np.uint8)[:, None, None]
    covered = np.repeat(image[None], grid * grid, axis=0)
    for number in range(grid * grid):
        row, column = divmod(number, grid)
        covered[number, :, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = mean
    whole = probability(image[None])[0]
    return np.asarray(whole - np.concatenate([probability(part) for part in np.split(covered, grid)])).reshape(
        grid, grid
    )


def picture(image: np.ndarray, falls: np.ndarray) -> bytes:
    """A PNG: the image (3, S, S) uint8 in grey, red where covering it lowers the probability, blue where it raises."""
    side = max(SIDE, image.shape[1])
    grey = Image.fromarray(image.transpose(1, 2, 0)).convert("L").resize((side, side), Image.Resampling.BICUBIC)
    scale = max(float(np.abs(falls).max()), 1e-12)
    strength = Image.fromarray((falls / scale).astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    share, light = np.asarray(strength)[..., None], np.asarray(grey, np.float32)[..., None]
    colour = np.where(share > 0, (220, 30, 30), (30, 60, 220))
    weight = 0.6 * np.abs(share)
    blended = (light * (1 - weight) + colour * weight).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blended).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
