"""The gate, opened: what it sees in an image, and whether that is a copy."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from dermray.features.extractor import open_extractor
from dermray.features.settings import ExtractorConfig
from dermray.synthesis.gate import network
from dermray.synthesis.gate.calibration import Calibration, read_calibration
from dermray.synthesis.gate.index import Found, Index
from dermray.synthesis.gate.thumbnails import orientations

NETWORK = "network.safetensors"


class Embedder(Protocol):
    """What the gate needs of an extractor."""

    @property
    def hash(self) -> str:
        """Of its weights, and of how images are prepared."""

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 to features (B, D) float32 on the CPU."""


class Seen(NamedTuple):
    """The nearest training images of an image."""

    pixels: Found
    embedding: Found


def embedded(extractor: Callable[[Tensor], Tensor], image: Tensor) -> np.ndarray:
    """A unit vector (D,) of (3, S, S) uint8 that is the same for all its orientations.

    Always eight images go through the network together, so that the numbers do not depend on what else is looked at.
    """
    mean = extractor(torch.stack(orientations(image))).mean(0)
    return (mean / mean.norm().clamp(min=1e-12)).numpy()


def extractor_of(index: Index, device: str) -> Embedder:
    """The network that made an index's embeddings.

    Raises:
        FileNotFoundError, ValueError: its weights are gone, or are others now.
    """
    config = ExtractorConfig.model_validate(index.about.extractor)
    if config.kind == "judge":
        extractor: Embedder = network.load(index.directory / NETWORK).to(device)
    else:
        extractor = open_extractor(config, device)
    if extractor.hash != index.about.extractor_hash:
        raise ValueError(
            f"{config.weights or index.directory}: other weights ({extractor.hash}) than those that the gate's index "
            f"was made with ({index.about.extractor_hash}); put these back, or run the generate stage again"
        )
    return extractor


class Looks:
    """An index and its network: distances, without thresholds."""

    def __init__(self, uri: str, device: str = "cpu") -> None:
        self.index = Index(uri)
        self.extractor = extractor_of(self.index, device)

    def seen(self, image: Tensor) -> Seen:
        """Of an image (3, S, S) uint8, whatever is looked at beside it."""
        return Seen(self.index.by_pixels(image), self.index.by_embedding(embedded(self.extractor, image)))


class Gate:
    """Looks with thresholds. Opening it raises as `Index` and `extractor_of` do."""

    def __init__(self, uri: str, device: str = "cpu") -> None:
        self.calibration: Calibration = read_calibration(uri)
        self.looks = Looks(uri, device)

    def seen(self, images: Tensor) -> list[Seen]:
        """Of (B, 3, S, S) uint8."""
        return [self.looks.seen(image) for image in images]

    def columns(self, seen: Seen) -> dict[str, object]:
        """What a synthetic row says of it."""
        return {
            "nearest_sample_id": seen.pixels.sample_id,
            "nearest_distance": seen.pixels.distance,
            "real_nearest_distance": self.calibration.pixels,
            "embedded_sample_id": seen.embedding.sample_id,
            "embedded_distance": seen.embedding.distance,
            "real_embedded_distance": self.calibration.embedding,
        }

    def closeness(self, seen: Seen) -> float:
        """The smaller of both distances as a share of its threshold: below 1 is rejected."""
        return self.calibration.closeness(seen.pixels.distance, seen.embedding.distance)

    def reason(self, seen: Seen) -> str | None:
        """Why an image is rejected."""
        return self.calibration.reason(seen.pixels.distance, seen.embedding.distance)
