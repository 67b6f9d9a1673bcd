"""What the validation split says of a classifier, kept beside its weights for whoever asks it about one image.

config.json              dermray.validated: temperature, operating point, thresholds
features.safetensors     bank: features of training images, which new images are compared with
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from dermray.backbones.networks import Classifier
from dermray.classification import calibration, outliers
from dermray.classification.batches import Pixels
from dermray.classification.calibration import Calibration
from dermray.classification.features import features_of
from dermray.classification.outliers import Outliers
from dermray.classification.settings import Threshold

FEATURES = "features.safetensors"


@dataclass(frozen=True)
class OperatingPoint:
    """Where malignant begins, and how often that is right on the validation split, on which it was chosen."""

    threshold: float  # of the calibrated probability
    sensitivity: float
    specificity: float
    malignant: int  # images of the validation split
    benign: int


@dataclass(frozen=True)
class Validated:
    """None is what the split could not say: it has one class or no images, or the classifier more than two classes."""

    temperature: float | None = None
    operating_point: OperatingPoint | None = None
    outliers: Outliers | None = None

    @property
    def calibration(self) -> Calibration | None:
        """To be applied to the classifier's probabilities."""
        if self.temperature is None:
            return None
        return Calibration(self.temperature, *([self.operating_point.threshold] if self.operating_point else []))


def validate(
    model: Classifier,
    pixels: Pixels,
    training: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray],
    probabilities: np.ndarray | None,
    seed: int,
    threshold: Threshold = "youden",
) -> Validated:
    """By a classifier in evaluation mode.

    Args:
        training: (M,) numbers of its training images in `pixels`.
        validation: (N,) numbers of the validation images, and (N,) int64 of their classes.
        probabilities: (N, C) of these, if there are any. seed: of what is drawn of many.
        threshold: where malignant begins.
    """
    rows, labels = validation
    if probabilities is None or not len(rows):
        return Validated()
    known, held_out = (outliers.drawn(np.unique(numbers), seed) for numbers in (training, rows))
    found = outliers.fit(features_of(model, pixels, known), features_of(model, pixels, held_out))
    if len(np.unique(labels)) < 2:
        return Validated(outliers=found)
    chosen = calibration.of_validation(labels, probabilities, threshold)
    return Validated(chosen.temperature, _operating_point(chosen, labels, probabilities), found)


def _operating_point(chosen: Calibration, labels: np.ndarray, probabilities: np.ndarray) -> OperatingPoint | None:
    if probabilities.shape[1] > 2:
        return None
    called, truth = chosen.decide(chosen.scale(probabilities)) == 1, labels == 1
    sensitivity, specificity = float(called[truth].mean()), float((~called[~truth]).mean())
    return OperatingPoint(chosen.threshold, sensitivity, specificity, int(truth.sum()), int((~truth).sum()))


def write(directory: str | Path, validated: Validated) -> dict[str, Any]:
    """What goes into config.json; the features are written into a file in `directory`."""
    found = validated.outliers
    if found:
        save_file({"bank": found.bank}, str(Path(directory) / FEATURES))
    point = validated.operating_point
    return {
        "temperature": validated.temperature,
        "operating_point": asdict(point) if point else None,
        "outliers": {k: v for k, v in vars(found).items() if k != "bank"} if found else None,
    }


def read(directory: str | Path, told: dict[str, Any]) -> Validated:
    """What `write` wrote.

    Raises:
        FileNotFoundError: config.json speaks of features, and their file is missing.
    """
    point, found = told["operating_point"], told["outliers"]
    file = Path(directory) / FEATURES
    if found and not file.is_file():
        raise FileNotFoundError(f"{file}: missing beside the config.json that speaks of it; copy the whole directory")
    return Validated(
        told["temperature"],
        OperatingPoint(**point) if point else None,
        Outliers(bank=load_file(str(file))["bank"], **found) if found else None,
    )
