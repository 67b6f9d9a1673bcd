"""What a replica of a classifier counts, beside Ray's own metrics."""

from ray.util.metrics import Histogram

SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]
IMAGES = [1, 2, 4, 8, 16, 32, 64, 128]


class Measures:
    """Histograms, by model."""

    def __init__(self, model: str) -> None:
        self.tags = {"model": model}
        self.batch = _histogram("batch_size", "images that are scored together", IMAGES)
        self.decode = _histogram("decode_seconds", "of an image, with waiting for room", SECONDS)
        self.forward = _histogram("forward_seconds", "of a batch", SECONDS)

    def decoded(self, seconds: float) -> None:
        """One image."""
        self.decode.observe(seconds, self.tags)

    def scored(self, images: int, seconds: float) -> None:
        """One batch."""
        self.batch.observe(images, self.tags)
        self.forward.observe(seconds, self.tags)


def _histogram(name: str, description: str, boundaries: list[float] | list[int]) -> Histogram:
    return Histogram(f"dermray_classification_{name}", description, list(boundaries), ("model",))
