"""Inception score by sums: exp of the mean Kullback-Leibler divergence between an image's classes and those of all.

Means little for lesions: the classes are the network's, and it grows with the number of images. Only for the papers'
tables.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax

from dermray.evaluation.extraction import PARTS
from dermray.evaluation.stored import Stored


@dataclass(frozen=True)
class InceptionScore:
    """Mean and standard deviation over random parts, each of `images` / `parts` images or so."""

    mean: float
    spread: float
    images: int
    parts: int

    def as_dict(self) -> dict[str, Any]:
        """For a manifest."""
        return asdict(self)


def inception_score(images: Stored, parts: int = PARTS) -> InceptionScore | None:
    """Of all images, in one reading; parts without an image are left out.

    Returns:
        None where the extractor has no classes, or there is no image.
    """
    sums: dict[int, list[Any]] = {}
    try:
        for block in images.blocks("part", images.logits):
            _add(sums, log_softmax(block[images.logits].astype(np.float64), axis=1), block["part"] % parts)
    except KeyError:  # no such column
        return None
    if not sums:
        return None
    scores = [_score(*found) for _, found in sorted(sums.items())]
    return InceptionScore(
        float(np.mean(scores)), float(np.std(scores)), sum(n for n, _, _ in sums.values()), len(scores)
    )


def _add(sums: dict[int, list[Any]], log_p: np.ndarray, parts: np.ndarray) -> None:
    """To (count, sum of p, sum of p log p) of each part."""
    p = np.exp(log_p)
    for number in np.unique(parts):
        of_part = parts == number
        found = sums.setdefault(int(number), [0, 0.0, 0.0])
        found[0] += int(of_part.sum())
        found[1] = found[1] + p[of_part].sum(0)
        found[2] += float((p[of_part] * log_p[of_part]).sum())


def _score(count: int, p: np.ndarray, p_log_p: float) -> float:
    q = p / count
    seen = q > 0  # what underflows adds nothing
    return float(np.exp(p_log_p / count - (q[seen] * np.log(q[seen])).sum()))
