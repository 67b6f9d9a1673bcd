"""Where a close-up of a lesion shows skin: neither the lesion, nor hair, glare, ink, rulers or the dermatoscope.

What is lit best is taken: shadow makes skin look darker than it is, and little makes it look lighter.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

SIDE = 128  # px that the longer side is reduced to, where it is longer; lengths below are shares of the longer side
BLACK = 20  # L*, of the dermatoscope's tube at the picture's edge
RIM = 4 / 128  # beside it, where the tube throws shadow
GLARE = 235  # of 255, in every channel
HAIR_WIDTH, HAIR_DEPTH = 5 / 128, 14  # of a dark line, and how much darker in L* it is than what lies around it
SMOOTH = 3 / 128  # so that pores and scales do not count as lesion
CONTRAST = 6  # L* between two classes, below which they are one
RING, CENTRE = 0.7, 0.5  # of the way from the middle to the edge: outside the former, inside the latter
ONLY_INSIDE = 0.15  # share of the ring, below which a light patch in the middle is a lesion lighter than its skin


def reduced(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8, neither side longer than SIDE."""
    if max(image.size) <= SIDE:
        return np.asarray(image)
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(size, Image.Resampling.BOX, reducing_gap=2.0))


def skin(rgb: np.ndarray, lab: np.ndarray) -> np.ndarray:
    """(H, W) bool. Empty where nothing is left; where there is no contrast all that is seen counts as skin.

    Args:
        rgb: (H, W, 3) uint8. lab: the same colours as `lab_of` gives them.
    """
    seen = visible(rgb, lab)
    if not seen.any():
        return seen
    green = ndimage.uniform_filter(rgb[..., 1].astype(np.float32), _odd(SMOOTH, rgb))  # blood and melanin absorb it
    light = seen & (green > threshold(green[seen]))
    dark = seen & ~light
    if not light.any() or np.median(lab[light, 0]) - np.median(lab[dark, 0]) < CONTRAST:
        return seen
    chosen, other = (dark, light) if _only_inside(light, seen) else (light, dark)
    return chosen & ~ndimage.maximum_filter(other, _odd(SMOOTH, rgb))  # lesions fade out


def visible(rgb: np.ndarray, lab: np.ndarray) -> np.ndarray:
    """(H, W) bool: neither the black around a dermatoscope's picture, nor glare, nor dark hair."""
    lightness = lab[..., 0]
    hair = ndimage.grey_closing(lightness, size=(_odd(HAIR_WIDTH, rgb),) * 2) - lightness > HAIR_DEPTH
    glare = rgb.min(-1) > GLARE
    return ~(ndimage.maximum_filter(hair | glare, 3) | _frame(lightness < BLACK, RIM * max(rgb.shape)))


def threshold(values: np.ndarray) -> float:
    """Otsu's: the value that parts (N,) values into the two classes that differ most from each other.

    Where all are equal it is that value, above which none lies.
    """
    if values.min() == values.max():
        return float(values[0])
    counts, edges = np.histogram(values, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    below, total = counts.cumsum()[:-1], len(values)
    moment, whole = (counts * middles).cumsum()[:-1], float((counts * middles).sum())
    between = (moment * total - whole * below) ** 2 / (below * (total - below))  # the first and last bin are not empty
    return float(edges[1:-1][between.argmax()])


def _frame(black: np.ndarray, rim: float) -> np.ndarray:
    """Black that touches the picture's edge, and `rim` px beside it."""
    regions, number = ndimage.label(black)
    edge = {*regions[0].tolist(), *regions[-1].tolist(), *regions[:, 0].tolist(), *regions[:, -1].tolist()} - {0}
    if not number or not edge:
        return np.zeros_like(black)
    frame = np.isin(regions, [*edge])
    return np.asarray(ndimage.distance_transform_edt(~frame) <= rim)


def _only_inside(light: np.ndarray, seen: np.ndarray) -> bool:
    """Whether the light part lies in the middle and hardly elsewhere."""
    y, x = (np.abs((np.arange(side) + 0.5) / side * 2 - 1) for side in light.shape)
    out = np.maximum(y[:, None], x[None])
    ring, centre = (light[zone].sum() / max(1, seen[zone].sum()) for zone in (out > RING, out < CENTRE))
    return bool(ring < ONLY_INSIDE and centre > ring)


def _odd(share: float, rgb: np.ndarray) -> int:
    """A length in px, so that a window has a middle."""
    return round(share * max(rgb.shape[:2])) | 1
