"""The classifier behind POST /v1/classifications."""

from typing import Any

import numpy as np
from ray import serve

from dermray import manifest, node_cache, storage
from dermray.classification import saved
from dermray.classification.batches import InMemory
from dermray.classification.training import probabilities


@serve.deployment(max_ongoing_requests=128)
class Classification:
    """Scores images of concurrent requests in one batch."""

    def __init__(self, sweep_result: str) -> None:
        result = manifest.read(sweep_result, "sweep")
        self.saved = saved.load(node_cache.local_copy(storage.join(result.data, "model")))
        self.size = self.saved.image_size
        self.id = f"{self.saved.backbone.name}-{result.manifest.key}"

    def about(self) -> dict[str, Any]:
        """Id and image size."""
        return {"id": self.id, "image_size": self.size}

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.01)
    async def score(self, images: list[np.ndarray]) -> list[float]:
        """One score in [0, 1] per image (3, S, S) uint8."""
        shown = InMemory(np.stack(images))
        return [float(score) for score in probabilities(self.saved.model, shown, np.arange(len(images)))[:, 1]]
