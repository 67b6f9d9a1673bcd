"""The classifier behind POST /v1/classifications."""

import asyncio
from typing import Any

import numpy as np
from ray import serve

from dermray.classification.batches import InMemory
from dermray.classification.training import probabilities
from dermray.datasets.decode import BadImage, decode, square
from dermray.serving.opening import Place, open_classifier
from dermray.serving.placing import placed
from dermray.serving.settings import ServedClassifier


@serve.deployment
class Classification:
    """Scores images of concurrent requests in one batch."""

    def __init__(self, model: ServedClassifier, place: Place) -> None:
        self.saved = open_classifier(place)
        placed(self.saved.model, model)
        self.size = self.saved.image_size

    def about(self) -> dict[str, Any]:
        """Image size in px."""
        return {"image_size": self.size}

    async def score(self, image: bytes, max_pixels: int) -> float | str:
        """A score in [0, 1], or what is wrong with the image."""
        try:
            pixels = await asyncio.to_thread(lambda: square(decode(image, max_pixels), self.size))
        except BadImage as error:
            return str(error)
        score: float = await self._score(pixels)
        return score

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.01)
    async def _score(self, images: list[np.ndarray]) -> list[float]:
        """One score in [0, 1] per image (3, S, S) uint8."""
        shown = InMemory(np.stack(images))
        return [float(score) for score in probabilities(self.saved.model, shown, np.arange(len(images)))[:, 1]]
