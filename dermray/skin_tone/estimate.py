"""A skin tone from one image by the typology angle of the skin around the lesion."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from dermray.skin_tone.ita import angle, tone_of
from dermray.skin_tone.lab import lab_of
from dermray.skin_tone.skin import reduced, skin

LITTLE = 0.1  # of the picture's pixels
TOO_LITTLE, CAST = "too little skin around the lesion", "the light is too blue"


class Estimate(NamedTuple):
    """A skin tone A, B or C, or the reason why there is none."""

    tone: str | None
    reason: str | None = None


@dataclass(frozen=True)
class Measured:
    """Of one image: the skin's angle in degrees, or the reason why there is none; and its share of the pixels."""

    degrees: float | None
    reason: str | None
    share: float


def measured(image: Image.Image) -> Measured:
    """Of an RGB image as `decode` gives it. A few milliseconds; the same pixels give the same angle."""
    rgb = reduced(image)
    lab = lab_of(rgb)
    return of_pixels(lab, skin(rgb, lab))


def of_pixels(lab: np.ndarray, chosen: np.ndarray) -> Measured:
    """The angle of the median colour of chosen pixels; those without yellow are ink, drapes or rulers.

    Args:
        lab: (H, W, 3) as of `lab_of`. chosen: (H, W) bool.
    """
    share = float(chosen.mean())
    if share < LITTLE:
        return Measured(None, TOO_LITTLE, share)
    if np.median(lab[chosen, 2]) <= 0:
        return Measured(None, CAST, share)
    lightness, yellow = np.median(lab[chosen & (lab[..., 2] > 0)][:, [0, 2]], axis=0)
    return Measured(angle(float(lightness), float(yellow)), None, share)


class ByAngle:
    """Estimates by the angle; see `ita`."""

    def __call__(self, image: Image.Image) -> Estimate:
        """Of one decoded image."""
        found = measured(image)
        return Estimate(None, found.reason) if found.degrees is None else Estimate(tone_of(found.degrees))
