"""Thresholds that call no more unseen real images copies than stated, and what was measured with them.

Each look orders the n calibration images by distance. The thresholds are the distances of rank r in both looks, r as
large as keeps the number U of images that are among the first r of either look at U + 1 <= false rate * (n + 1). A new
image that is exchangeable with them then lies below either threshold with at most that probability: put it among them,
and those of n + 1 images that are among the first r of either look are at most U + 1, of which it is any with the same
probability (conformal prediction; Vovk et al., "Algorithmic learning in a random world", 2005).
"""

import math

import numpy as np
from pydantic import BaseModel

from dermray import storage

FILE = "calibration.json"
LOOKS = ("pixels", "embedding")


class Recall(BaseModel):
    """Of planted copies of one kind the shares that are caught."""

    planted: int
    caught: float
    by_pixels: float
    by_embedding: float
    named: float  # whose original is the nearest training image of a look that caught it


class Calibration(BaseModel):
    """What the gate rejects by, and how well."""

    false_rate: float  # as stated by the config
    pixels: float  # thresholds: what lies below is a copy
    embedding: float
    images: int  # held-out real images that set them
    bound: float  # of the false rate, which these images allow: above the stated one where they are too few
    checked: int = 0  # other held-out images
    realised: float | None = None  # of which this share was called a copy
    recall: dict[str, Recall] = {}

    def reason(self, pixels: float, embedding: float) -> str | None:
        """Why an image at these distances is rejected, or None."""
        below = [name for name, low in zip(LOOKS, self.below(pixels, embedding), strict=True) if low]
        return f"a copy of a training image by its {' and its '.join(below)}" if below else None

    def below(self, pixels: float, embedding: float) -> tuple[bool, bool]:
        """Whether each look says copy."""
        return pixels < self.pixels, embedding < self.embedding

    def closeness(self, pixels: float, embedding: float) -> float:
        """The smaller of both distances as a share of its threshold: below 1 is rejected."""
        pairs = zip((pixels, embedding), (self.pixels, self.embedding), strict=True)
        return min((distance / below for distance, below in pairs if below), default=math.inf)  # nothing is below 0

    def warning(self) -> str | None:
        """What the user should know of it."""
        if self.bound <= self.false_rate:
            return None
        wanted = needed(self.false_rate)
        return (
            f"{self.images} held-out real images are too few for the gate's false rate of {self.false_rate:g}: it "
            f"may call up to {self.bound:.2g} of new real images copies; {wanted} would do. Two thirds of the leak "
            f"groups outside the train split set it, at most calibration_images: hold out {math.ceil(1.5 * wanted)}"
        )


def needed(false_rate: float) -> int:
    """Calibration images for a false rate where the looks' lowest are two images."""
    return math.ceil(3 / false_rate) - 1


def calibrated(distances: np.ndarray, false_rate: float) -> Calibration:
    """Thresholds by the rule above; with too few images those of rank 1, whose true bound is stated.

    Args:
        distances: (n, 2) of held-out real images, by pixels and by embedding.
    """
    count = len(distances)
    if not false_rate:
        return Calibration(false_rate=0, pixels=0, embedding=0, images=count, bound=0)
    ranks = distances.argsort(0, kind="stable").argsort(0, kind="stable") + 1
    first = np.sort(ranks.min(1))  # the rank by which each image is called a copy
    called = np.searchsorted(first, np.arange(1, count + 1), side="right")  # U of each r
    allowed = np.flatnonzero(called + 1 <= false_rate * (count + 1) + 1e-9)
    rank = int(allowed[-1]) if len(allowed) else 0
    pixels, embedding = np.sort(distances, axis=0)[rank].tolist()
    bound = (int(called[rank]) + 1) / (count + 1)
    return Calibration(false_rate=false_rate, pixels=pixels, embedding=embedding, images=count, bound=bound)


def recall(calibration: Calibration, distances: np.ndarray, named: np.ndarray) -> Recall:
    """Of planted copies.

    Args:
        distances: (n, 2). named: (n, 2) whether the nearest training image of each look is the original.
    """
    below = np.array([calibration.below(*each) for each in distances.tolist()])
    return Recall(
        planted=len(distances),
        caught=float(below.any(1).mean()),
        by_pixels=float(below[:, 0].mean()),
        by_embedding=float(below[:, 1].mean()),
        named=float((below & named).any(1).mean()),
    )


def read_calibration(uri: str) -> Calibration:
    """Of a gate's directory.

    Raises:
        FileNotFoundError: it was not calibrated there.
    """
    file = storage.join(uri, FILE)
    if not storage.exists(file):
        raise FileNotFoundError(f"{uri}: no calibrated gate there; run the generate stage again")
    return Calibration.model_validate_json(storage.read_bytes(file))
