"""What `predict` scores with: a classifier that was trained here, or a zero-shot model."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from dermray import node_cache, storage
from dermray.classification import saved, zero_shot
from dermray.classification.calibration import Calibration
from dermray.classification.targets import Target
from dermray.classification.zero_shot import ZeroShot
from dermray.manifest import Result


@dataclass(frozen=True)
class Scorer:
    """A loaded classifier."""

    model: nn.Module  # (B, 3, S, S) uint8 to logits, in evaluation mode
    target: Target
    image_size: int  # px
    calibration: Calibration | None = None  # of its probabilities


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
    return Scoring(column, classifier.manifest.key, partial(_load_trained, model))


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


def _load_trained(model: str) -> Scorer:
    loaded = saved.load(node_cache.local_copy(model))
    return Scorer(loaded.model, loaded.target, loaded.image_size, loaded.validated.calibration)


def _load_zero_shot(given: ZeroShot, target: Target, revision: str | None, size: int) -> Scorer:
    return Scorer(zero_shot.load(given, target, revision), target, size)
