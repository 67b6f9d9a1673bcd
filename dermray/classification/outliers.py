"""Whether an image looks like none that a classifier was trained on: how far its k-th nearest training image is.

Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors": the distance between features of unit
length. Chosen over Mahalanobis distances (Lee et al. 2018), which need the inverse of an F x F covariance: a lesion
classifier has 1280 features and often some hundred images, of which that covariance is singular, and its score then
depends on how it is mended. Neighbours suppose nothing of how features are spread, need two numbers and the training
images' features, and cost a millisecond in a hundred of the network.

The threshold is the one of split conformal prediction (Vovk et al. 2005): of images like those of the validation split
no more than the stated share is flagged, on average over splits, and however few they are.
"""

from dataclasses import dataclass

import numpy as np

NEIGHBOUR = 5  # Sun et al. take 50 of 50,000 images; fewer than a handful would follow a single odd image
BANK = 1000  # training images at most, drawn: 5 MB of 1280 features, and a larger bank changed little in their table 4
RATE = 0.05  # of false alarms


@dataclass(frozen=True)
class Outliers:
    """Scores features, the larger the stranger: 0 is a training image's own, 2 the opposite of all."""

    bank: np.ndarray  # (M, F) float32 of unit length, of training images
    neighbour: int  # k, at most M
    threshold: float  # an image above it is flagged
    false_alarm_rate: float  # at most, on images like those of the validation split
    images: int  # of the validation split, by which it was chosen

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(N,) float64 distances in [0, 2] of features (N, F)."""
        return _distances(_unit(features), self.bank, self.neighbour)


def fit(training: np.ndarray, validation: np.ndarray, rate: float = RATE) -> Outliers | None:
    """Of features (M, F) and (N, F); None where there are no images of one of them."""
    if not len(training) or not len(validation):
        return None
    bank, k = _unit(training), min(NEIGHBOUR, len(training))
    scores = np.sort(_distances(_unit(validation), bank, k))
    rank = min(len(scores), int(np.ceil((len(scores) + 1) * (1 - rate))))
    stated = (len(scores) + 1 - rank) / (len(scores) + 1)
    return Outliers(bank, k, float(scores[rank - 1]), stated, len(scores))


def drawn(rows: np.ndarray, seed: int, most: int = BANK) -> np.ndarray:
    """So many of them, the same for the same seed."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _unit(features: np.ndarray) -> np.ndarray:
    values = features.astype(np.float32)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.maximum(length, np.finfo(np.float32).tiny)  # features of zeros alone stay there


def _distances(features: np.ndarray, bank: np.ndarray, k: int) -> np.ndarray:
    squared = np.sum(features**2, 1)[:, None] + np.sum(bank**2, 1) - 2 * (features @ bank.T)
    nearest = np.partition(np.maximum(squared, 0), k - 1, axis=1)[:, k - 1]
    return np.sqrt(nearest.astype(np.float64))
