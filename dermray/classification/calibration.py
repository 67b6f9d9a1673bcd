"""What is chosen on the validation split and never on test: the temperature, and where malignant begins."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import log_loss, roc_curve

from dermray.classification.metrics import decide
from dermray.classification.settings import Threshold

SMALLEST = float(np.finfo(np.float64).tiny)  # probability that is told from none; a larger one would tie sure scores
TEMPERATURES = (0.05, 20.0)  # a validation split without an error would ask for none at all
Rule = Literal["youden", "sensitivity", "specificity"]


@dataclass(frozen=True)
class Calibration:
    """Applied to a classifier's probabilities on any images."""

    temperature: float = 1
    threshold: float = 0.5  # of the positive class, after scaling; more than two classes have none

    def scale(self, probabilities: np.ndarray) -> np.ndarray:
        """(N, C) probabilities of the logits divided by the temperature."""
        return np.exp(_scaled(probabilities, self.temperature))

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """(N,) class numbers for probabilities that were scaled."""
        return decide(probabilities, self.threshold)

    def as_dict(self) -> dict[str, Any]:
        """For a file beside the weights."""
        return asdict(self)


def fit(labels: np.ndarray, probabilities: np.ndarray, rule: Rule = "youden", target: float = 0.9) -> Calibration:
    """Temperature (Guo et al. 2017) and operating point of a validation split.

    Args:
        labels: (N,) int64. probabilities: (N, C), as the classifier gives them.
        rule: the threshold with the largest sensitivity + specificity - 1 (Youden 1950); or the one of at least
            `target` sensitivity (specificity) that has the most of the other.

    Raises:
        ValueError: a validation split without both classes.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError(f"validation split: {len(labels)} images of one class or none; expected two classes or more")
    temperature = fit_temperature(labels, probabilities)
    if probabilities.shape[1] > 2:
        return Calibration(temperature)
    scaled = Calibration(temperature).scale(probabilities)
    return Calibration(temperature, operating_point(labels == 1, scaled[:, 1], rule, target))


def of_validation(labels: np.ndarray, probabilities: np.ndarray | None, threshold: Threshold = "youden") -> Calibration:
    """`fit`, or no scaling and the usual threshold where the validation images show fewer than two classes.

    Args:
        labels: (N,) int64. probabilities: (N, C); None where there are no images.
        threshold: "0.5" is the usual one whatever the images say; scaling leaves a probability of 0.5 where it is.
    """
    if probabilities is None or len(np.unique(labels)) < 2:
        return Calibration()
    if threshold == "0.5":
        return Calibration(fit_temperature(labels, probabilities))
    return fit(labels, probabilities)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature of the smallest negative log likelihood.

    Of two classes ranks, and so AUC, stay as they are; of more those of one class against the rest may change.
    """
    numbers = np.arange(probabilities.shape[1])

    def loss(log_temperature: float) -> float:
        scaled = np.exp(_scaled(probabilities, float(np.exp(log_temperature))))
        return float(log_loss(labels, scaled, labels=numbers))

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def operating_point(truth: np.ndarray, scores: np.ndarray, rule: Rule, target: float = 0.9) -> float:
    """The threshold by that rule, halfway between the scores that it parts.

    Args:
        truth: (N,) bool. scores: (N,) in [0, 1].
    """
    false, true, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    if rule == "youden":
        best = int(np.argmax(true - false))
    elif rule == "sensitivity":
        best = int(np.argmax(true >= target))  # the highest threshold that has it
    else:
        best = int(np.flatnonzero(1 - false >= target)[-1])  # the lowest
    above = min(float(thresholds[best]), 1.0)  # sklearn's first threshold is infinite: nothing is positive
    below = float(thresholds[best + 1]) if best + 1 < len(thresholds) else 0.0
    return (above + below) / 2


def _scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Log probabilities. The logits are the log probabilities but for a constant, which does not matter."""
    return np.asarray(log_softmax(np.log(np.clip(probabilities, SMALLEST, None)) / temperature, axis=1))
