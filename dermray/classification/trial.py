"""One classifier of a sweep, in a Tune worker. A module of its own: the worker imports no plots."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_model
from torch import nn

from dermray.classification.arms import arm, choose
from dermray.classification.backbones import Backbone
from dermray.classification.fairness import auc_gap, by_group
from dermray.classification.metrics import measure
from dermray.classification.training import scores, train

CLASSES = ("benign", "malignant")
WEIGHTS = "model.safetensors"  # each trial that is done has one in its checkpoint


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a sweep share."""

    backbones: dict[str, Backbone]  # by name
    real_images: int  # the few
    steps: int
    batch_size: int
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
    pixels = np.concatenate([images["real"][real], images["synthetic"][synthetic]])
    model = train(pixels, labels, backbone, settings.steps, settings.batch_size, seed)
    tested = scores(model, images["test"])
    truth, probabilities = images["test_labels"].astype(np.int64), np.stack([1 - tested, tested], axis=1)
    groups = by_group(truth, probabilities, images["test_attributes"]["skin_tone"])
    metrics = {
        "overall": measure(truth, probabilities, CLASSES)["overall"],
        "groups": groups,
        "auc_gap": auc_gap(groups),
    }
    details = metrics | {"scores": tested.tolist(), "training_images": len(labels)}
    _report(model, {"backbone": backbone.model_dump(), "image_size": images["test"].shape[-1]}, details)


def _report(model: nn.Module, about: dict[str, Any], details: dict[str, Any]) -> None:
    """Metrics to Tune and TensorBoard, weights as the trial's checkpoint."""
    from ray import tune

    with tempfile.TemporaryDirectory() as directory:
        save_model(model, str(Path(directory) / WEIGHTS))
        (Path(directory) / "config.json").write_text(json.dumps(about | {"label": "malignant"}))
        flat = {name: details["overall"][name] for name in ("auc", "balanced_accuracy")}
        tune.report(flat | {"details": json.dumps(details)}, checkpoint=tune.Checkpoint.from_directory(directory))
