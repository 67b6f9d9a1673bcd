"""Draw one dermoscopic-looking lesion whose truth is known: `render(truth, seed, size)`.

The lesion is a star-shaped region r < R(theta) on textured skin. What a reader must find out is drawn by
rules that hold at any size from 16 px up:

asymmetry  symmetric: an ellipse with its colours in concentric rings.
           asymmetric: a one-sided bulge, and the colours lie side by side along one axis.
border     smooth: no harmonics above the second, soft edge. irregular: harmonics 7 to 12, sharp edge.
colours    one to four of the six dermoscopic colours (the ABCD rule's list), each on about the same area.
skin tone  A, B, C as in DDI: Fitzpatrick I-II, III-IV, V-VI.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from dermray.records import COLOURS, SKIN_TONES

COLOUR_RGB = {
    "white": (240, 230, 226),
    "red": (190, 66, 70),
    "light brown": (166, 108, 62),
    "dark brown": (92, 52, 32),
    "blue-gray": (92, 110, 138),
    "black": (30, 24, 26),
}
SKIN_RGB = {"A": (238, 203, 184), "B": (203, 156, 124), "C": (126, 84, 62)}
_PALETTE = np.array([COLOUR_RGB[name] for name in COLOURS], dtype=np.float32)


@dataclass(frozen=True)
class Truth:
    """What a phantom shows."""

    asymmetry: bool
    border_irregular: bool
    colours: tuple[str, ...]  # 1 to 4 of COLOURS, in COLOURS' order
    skin_tone: str  # A, B or C
    hair: bool
    ruler: bool
    vignette: bool


@dataclass(frozen=True)
class Rendering:
    """Pixels and the maps that were painted with."""

    image: np.ndarray  # (size, size, 3) uint8 RGB
    colour_index: np.ndarray  # (size, size) int8, index into COLOURS, -1 on skin


def draw_truth(rng: np.random.Generator) -> Truth:
    """A truth with every attribute drawn on its own, so that no attribute predicts another."""
    count = int(rng.integers(1, 5))
    # White alone would be a bare patch on light skin that even its author could not call a lesion.
    pool = [name for name in COLOURS if count > 1 or name != "white"]
    chosen = set(rng.choice(pool, size=count, replace=False).tolist())
    return Truth(
        asymmetry=bool(rng.random() < 0.5),
        border_irregular=bool(rng.random() < 0.5),
        colours=tuple(name for name in COLOURS if name in chosen),
        skin_tone=str(rng.choice(SKIN_TONES)),
        hair=bool(rng.random() < 0.2),
        ruler=bool(rng.random() < 0.1),
        vignette=bool(rng.random() < 0.25),
    )


def draw_phantoms(seed: int, count: int, size: int, confounded: float = 0.0) -> Iterator[tuple[Truth, Rendering]]:
    """`count` independent phantoms, for training and judging readers.

    Args:
        confounded: share of them whose border is irregular just where they are asymmetric, whatever was drawn. A reader
            trained on these reads one off the other.
    """
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        truth = draw_truth(rng)
        if confounded and rng.random() < confounded:
            truth = replace(truth, border_irregular=truth.asymmetry)
        yield truth, render(truth, (seed, index, 1), size)


def render(truth: Truth, seed: int | tuple[int, ...], size: int) -> Rendering:
    """Paint `truth` on size x size pixels. The same truth, seed and size give the same bytes.

    Raises:
        ValueError: size below 16, where borders cannot be seen.
    """
    if size < 16:
        raise ValueError(f"size={size}: expected at least 16 px")
    rng = np.random.default_rng(seed)
    x, y = _grid(size)
    inside, field, depth = _lesion(truth, rng, x, y)
    order = _layers(truth, rng)
    index = order[np.minimum((field * len(order)).astype(np.int8), len(order) - 1)]

    lesion = _blend(_palette(rng)[order], field) * (1 + _texture(rng, x, y, depth))[..., None]
    skin = np.array(SKIN_RGB[truth.skin_tone], np.float32) * rng.normal(1, 0.02, 3)
    skin = skin * (1 + 0.025 * _smooth_noise(rng, size, 5) + 0.012 * _smooth_noise(rng, size, 22))[..., None]
    image = skin + inside[..., None] * (lesion - skin)
    if truth.hair:
        image = _hair(rng, image, x, y)
    if truth.ruler:
        image = _ruler(rng, image, x, y)
    image = image * _light(truth, rng, x, y)[..., None]
    image = image + rng.standard_normal(image.shape, dtype=np.float32) * 2.0
    colour_index = np.where(inside > 0.5, index, -1).astype(np.int8)
    return Rendering(np.clip(image, 0, 255).astype(np.uint8), colour_index)


def _lesion(truth: Truth, rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Coverage 0..1, the layer field 0..1 that the colours follow, and depth 1 (centre) to 0 (edge)."""
    size = len(x)
    x, y = x - rng.uniform(-0.09, 0.09), y - rng.uniform(-0.09, 0.09)
    theta, radius = np.arctan2(y, x), np.hypot(x, y) + 1e-6
    tilt = rng.uniform(0, 2 * np.pi)
    outline = 1 + rng.uniform(0.03, 0.14) * np.cos(2 * (theta - tilt))
    if truth.asymmetry:
        bulge = np.exp(4.0 * (np.cos(theta - rng.uniform(0, 2 * np.pi)) - 1))
        outline = outline * (0.84 + rng.uniform(0.60, 0.80) * bulge)
    if truth.border_irregular:
        for harmonic in range(6, 13):
            outline = outline + rng.normal(0, 0.05) * np.cos(harmonic * theta + rng.uniform(0, 2 * np.pi))
        outline = outline + 0.055 * np.cos(rng.integers(7, 11) * theta + rng.uniform(0, 2 * np.pi))
    limit = rng.uniform(0.52, 0.64) * np.maximum(outline, 0.3)
    softness = 0.012 if truth.border_irregular else 0.045
    inside = 1 / (1 + np.exp(np.clip((radius - limit) / max(softness, 0.7 / size), -30, 30)))

    reach = np.clip(radius / limit, 0, 1)
    if truth.asymmetry:
        along = (x * np.cos(tilt) + y * np.sin(tilt)) / limit
        field = _disc_quantile(along)
    else:
        field = reach**2  # equal areas between equal steps of r^2
    field = np.clip(field + 0.06 * _smooth_noise(rng, size, 6) + 0.04 * _smooth_noise(rng, size, 16), 0, 0.999)
    return inside.astype(np.float32), field, 1 - reach


def _disc_quantile(along: np.ndarray) -> np.ndarray:
    """Share of a unit disc's area that lies left of `along`: so that side-by-side colours get equal areas."""
    along = np.clip(along, -1, 1)
    return 0.5 + (along * np.sqrt(1 - along**2) + np.arcsin(along)) / np.pi


def _layers(truth: Truth, rng: np.random.Generator) -> np.ndarray:
    """Order of the colours along the field; white never outermost, where it would look like skin."""
    order = rng.permutation([COLOURS.index(name) for name in truth.colours]).astype(np.int8)
    white = COLOURS.index("white")
    if len(order) > 1 and order[-1] == white:
        order = np.roll(order, 1)
    if truth.asymmetry and len(order) > 2 and order[0] == white:
        order[[0, 1]] = order[[1, 0]]
    return order


def _palette(rng: np.random.Generator) -> np.ndarray:
    """The six colours as this lesion shows them: (6, 3) float32."""
    return np.asarray(_PALETTE * rng.normal(1, 0.03, (1, 3)) + rng.normal(0, 4, (len(COLOURS), 1)), np.float32)


def _blend(layers: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Layer colours (L, 3) along the field, running into each other over a quarter of a layer's width."""
    position = np.clip(field * len(layers) - 0.5, 0, len(layers) - 1)
    lower = np.minimum(position.astype(np.int8), len(layers) - 2) if len(layers) > 1 else np.zeros_like(field, np.int8)
    upper = np.minimum(lower + 1, len(layers) - 1)
    share = 1 / (1 + np.exp(-14 * (position - lower - 0.5)))
    return layers[lower] * (1 - share[..., None]) + layers[upper] * share[..., None]


def _texture(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Brightness of a pigment network and of clods, both fading out towards the edge: about -0.4 to 0.4."""
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(26, 36)
    warp = 1.5 * _smooth_noise(rng, len(x), 6)
    u = pitch * (x * np.cos(angle) + y * np.sin(angle)) + warp
    v = pitch * (y * np.cos(angle) - x * np.sin(angle)) - warp
    network = rng.uniform(0, 0.10) * np.sin(u) * np.sin(v)
    clods = 0.08 * _smooth_noise(rng, len(x), 9) + 0.06 * _smooth_noise(rng, len(x), 22)
    return (network + clods) * np.minimum(1, 0.3 + 3 * depth)


def _hair(rng: np.random.Generator, image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two to four curved hairs: circle arcs of large radius, about a pixel wide."""
    width = max(0.012, 1.1 / len(x))
    for _ in range(int(rng.integers(2, 5))):
        bend, angle = rng.uniform(1.2, 3.0), rng.uniform(0, 2 * np.pi)
        through = rng.uniform(-0.75, 0.75, 2)
        centre = through + bend * np.array([np.cos(angle), np.sin(angle)])
        distance = np.abs(np.hypot(x - centre[0], y - centre[1]) - bend)
        cover = 0.85 * np.exp(-((distance / width) ** 2))
        image = image * (1 - cover[..., None]) + np.array((38, 26, 22), np.float32) * cover[..., None]
    return image


def _ruler(rng: np.random.Generator, image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A scale with ticks along the lower or the left edge."""
    across, along = (y, x) if rng.random() < 0.5 else (-x, y)
    phase = np.abs((along * 8 + rng.uniform(0, 1)) % 1 - 0.5)
    ticks = (phase < max(0.07, 5.0 / len(x) / 2)) & (across > 0.86)
    return np.where(ticks[..., None], image * 0.25, image)


def _light(truth: Truth, rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Uneven light, and the dark corners of a dermatoscope's tube."""
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0, 0.06) * (x * np.cos(angle) + y * np.sin(angle))
    if truth.vignette:
        light = light / (1 + np.exp(np.clip((np.hypot(x, y) - rng.uniform(1.0, 1.12)) * 22, -30, 30)))
    return np.asarray(light, np.float32)


def _smooth_noise(rng: np.random.Generator, size: int, knots: int) -> np.ndarray:
    """(size, size) noise of about unit variance, smooth over 1/knots of the width."""
    basis = _noise_basis(size, knots)
    return basis @ rng.standard_normal((knots + 2, knots + 2), dtype=np.float32) @ basis.T


@lru_cache(maxsize=32)
def _noise_basis(size: int, knots: int) -> np.ndarray:
    position = (np.arange(size, dtype=np.float32) + 0.5) / size * knots - 0.5
    basis = np.exp(-0.5 * ((position[:, None] - np.arange(-1, knots + 1)) / 0.6) ** 2)
    return np.asarray(basis / np.sqrt((basis**2).sum(1, keepdims=True)), np.float32)


@lru_cache(maxsize=8)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres in [-1, 1], x to the right, y down."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return x, y
