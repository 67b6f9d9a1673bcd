"""The classifier behind POST /v1/classifications."""

import json
from typing import Any

import numpy as np
from ray import serve
from safetensors.torch import load_model

from dermray import manifest, node_cache, storage
from dermray.classification.backbones import Backbone, build
from dermray.classification.training import scores


@serve.deployment(max_ongoing_requests=128)
class Classification:
    """Scores images of concurrent requests in one batch."""

    def __init__(self, sweep_result: str) -> None:
        result = manifest.read(sweep_result, "sweep")
        directory = node_cache.local_copy(storage.join(result.data, "model"))
        about = json.loads((directory / "config.json").read_text())
        self.model = build(Backbone(**about["backbone"])).eval()
        load_model(self.model, str(directory / "model.safetensors"))
        self.size: int = about["image_size"]
        self.id = f"{about['backbone']['name']}-{result.manifest.key}"

    def about(self) -> dict[str, Any]:
        """Id and image size."""
        return {"id": self.id, "image_size": self.size}

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.01)
    async def score(self, images: list[np.ndarray]) -> list[float]:
        """One score in [0, 1] per image (3, S, S) uint8."""
        return [float(score) for score in scores(self.model, np.stack(images))]
