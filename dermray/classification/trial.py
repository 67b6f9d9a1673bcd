"""One classifier of a sweep, in a Tune worker. A module of its own: the worker imports no plots."""

import json
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from dermray.classification import saved
from dermray.classification.arms import arm, choose
from dermray.classification.backbones import Backbone
from dermray.classification.batches import InMemory
from dermray.classification.metrics import point_metrics
from dermray.classification.saved import Saved
from dermray.classification.settings import TrainingSettings
from dermray.classification.targets import Target
from dermray.classification.training import probabilities, train


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a sweep share."""

    backbones: dict[str, Backbone]  # by name
    real_images: int  # the few
    training: TrainingSettings
    first_seed: int


def trial(chosen: dict[str, Any], images: dict[str, Any], settings: TrialSettings) -> None:
    """Train, test, report to Tune.

    Args:
        chosen: arm, backbone and seed, out of Tune's grid. images: see `images.load`.
    """
    backbone, seed = settings.backbones[chosen["backbone"]], settings.first_seed + chosen["seed"]
    real, synthetic, labels = choose(
        arm(chosen["arm"]), images["real_labels"], images["synthetic_labels"], settings.real_images, seed
    )
    target = Target.of("malignant")
    pixels = InMemory(np.concatenate([images["real"][real], images["synthetic"][synthetic]]))
    every, classes = np.arange(len(labels)), labels.astype(np.int64)
    model = train(pixels, every, classes, None, backbone, settings.training, target.outputs, seed).model
    tested = probabilities(model, InMemory(images["test"]), np.arange(len(images["test"])))[:, 1]
    metrics = point_metrics(images["test_labels"], tested, images["test_tones"])
    details = metrics | {"scores": tested.tolist(), "training_images": len(labels)}
    _report(Saved(model, backbone, target, images["test"].shape[-1]), details)


def _report(trained: Saved, details: dict[str, Any]) -> None:
    """Metrics to Tune and TensorBoard, weights as the trial's checkpoint."""
    from ray import tune

    with tempfile.TemporaryDirectory() as directory:
        saved.save(directory, trained)
        flat = {name: details["overall"][name] for name in ("auc", "balanced_accuracy")}
        tune.report(flat | {"details": json.dumps(details)}, checkpoint=tune.Checkpoint.from_directory(directory))
