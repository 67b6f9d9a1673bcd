"""The memorisation gate on what is served: as `generate` calibrated it, against the generator's training images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dermray import manifest
from dermray.synthesis.memorization import nearest
from dermray.synthesis.run import resized, training_images

AT_A_TIME = 4096  # training images, which are compared in single precision


@dataclass(frozen=True)
class Gate:
    """Refuses what lies nearer to a training image than real images do."""

    threshold: float
    training: Tensor  # (N, 3, S, S) uint8

    def distance(self, pixels: np.ndarray) -> float:
        """Of an image (H, W, 3) uint8 to the nearest training image."""
        image = resized(torch.from_numpy(pixels).permute(2, 0, 1)[None], self.training.shape[-1])
        return min(float(nearest(image, part)[0][0]) for part in self.training.split(AT_A_TIME))

    def refuses(self, distance: float) -> bool:
        """As `generate` rejects rows."""
        return distance < self.threshold


def open_gate(generated: str, version: str) -> Gate:
    """The gate of a generate stage's result.

    Args:
        version: of the generator that is served, which must be the one that drew there.

    Raises:
        FileNotFoundError, ValueError: no such result, or another generator's.
    """
    drawn = manifest.read(generated, "generate")
    drew = drawn.manifest.inputs["generator"]
    if drew != version:
        raise ValueError(
            f"gate={generated}: drawn by the generator with key {drew}, and the served one is {version}; "
            "give the result of a generate stage that used the served generator"
        )
    generator = manifest.read(drawn.manifest.config["generator"], "train")
    if generator.manifest.key != drew:
        raise ValueError(f"gate={generated}: at {generator.uri} is now another generator than the one that drew there")
    training, _ = training_images(generator)
    return Gate(float(drawn.manifest.metrics["gate"]), training)
