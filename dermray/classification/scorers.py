"""What `predict` scores with: a classifier that was trained here, or a zero-shot model."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import nn

from dermray import node_cache, storage
from dermray.classification import saved, zero_shot
from dermray.classification.batches import InMemory
from dermray.classification.calibration import Calibration
from dermray.classification.targets import Target
from dermray.classification.training import probabilities
from dermray.classification.zero_shot import ZeroShot
from dermray.manifest import Result


@dataclass(frozen=True)
class Scorer:
    """A loaded classifier."""

    model: nn.Module  # (B, 3, S, S) uint8 to logits, in evaluation mode
    target: Target
    image_size: int  # px
    calibration: Calibration | None = None  # of its probabilities

    def judge(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, C) float64 probabilities and (N,) int64 numbers of the classes decided for, of (N, 3, S, S) uint8."""
        scores = probabilities(self.model, InMemory(images), np.arange(len(images)))
        if self.calibration is None:
            return scores, scores.argmax(1)
        scores = self.calibration.scale(scores)
        return scores, self.calibration.decide(scores)


@dataclass(frozen=True)
class Scoring:
    """What the driver knows of it: small, for it travels to workers, which load it."""

    column: str  # of the truth
    key: str  # as rows name it
    load: Callable[[], Scorer]


def trained(classifier: Result) -> Scoring:
    """The model of a classify or sweep result."""
    model = storage.join(classifier.data, "model")
    column = saved.target_of(storage.read_bytes(storage.join(model, saved.CONFIG))).column
    return Scoring(column, classifier.manifest.key, partial(load_trained, model))


def zero_shot_model(given: ZeroShot, target: Target, revision: str | None) -> Scoring:
    """A model that was not trained here.

    Args:
        revision: see `zero_shot.revision`.

    Raises:
        FileNotFoundError, ValueError, ImportError: see `zero_shot.texts` and `zero_shot.image_size`.
    """
    zero_shot.texts(given, target)
    load = partial(_load_zero_shot, given, target, revision, zero_shot.image_size(given))
    return Scoring(target.column, f"{given.name}@{revision}" if revision else given.name, load)


def load_trained(model: str) -> Scorer:
    """The classifier in a directory or S3 prefix that a classify or sweep result has as `model`."""
    loaded = saved.load(node_cache.local_copy(model))
    return Scorer(loaded.model, loaded.target, loaded.image_size, loaded.validated.calibration)


def _load_zero_shot(given: ZeroShot, target: Target, revision: str | None, size: int) -> Scorer:
    return Scorer(zero_shot.load(given, target, revision), target, size)
