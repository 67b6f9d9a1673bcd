"""The ingress's way to a classifier's replicas: images of several requests in one call of Ray's.

A call costs a millisecond of CPU on each side, three times as much as a nano model's forward pass. Calls at work are
bounded, so that what comes meanwhile goes together; an autoscaled deployment gets as many as its largest number of
replicas is to have, because Serve counts calls.
"""

from typing import Any

from dermray.serving.classification.batching import Batcher
from dermray.serving.classification.replica import About, Score
from dermray.serving.settings import Autoscaling, ServedClassifier

CALLS_PER_REPLICA = 2  # one is decoded while another is scored


class Way:
    """To one classifier."""

    def __init__(self, model: ServedClassifier, handle: Any, max_pixels: int) -> None:
        self.handle, self.max_pixels = handle, max_pixels
        self.batcher = Batcher(self._call, model.batch_size, _calls(model))

    async def score(self, images: list[bytes]) -> tuple[About, list[Score]]:
        """Of encoded images, each in its place."""
        found = await self.batcher(images)
        return found[0][0], [score for _, score in found]

    async def explain(self, image: bytes) -> tuple[bytes, float]:
        """A saliency PNG of an image that was scored, and the largest fall of the predicted class's probability."""
        picture: tuple[bytes, float] = await self.handle.explain.remote(image, self.max_pixels)
        return picture

    async def _call(self, images: list[bytes]) -> list[tuple[About, Score]]:
        """All of a call are of one version of the model, also while another one is being rolled out."""
        about, scores = await self.handle.score.remote(images, self.max_pixels)
        return [(about, score) for score in scores]


def _calls(model: ServedClassifier) -> int:
    if isinstance(model.replicas, Autoscaling):
        return max(CALLS_PER_REPLICA, int(model.replicas.max_replicas * model.replicas.target_ongoing_requests))
    return CALLS_PER_REPLICA * model.replicas
