"""What the drawing thread does, as Ray's metrics."""

from ray.util.metrics import Counter, Gauge, Histogram

from dermray.serving.drawing.easel import Step


class Meter:
    """Metrics of a model's replica. Steps per second are the rate of `dermray_steps`."""

    def __init__(self, model: str) -> None:
        tags, keys = {"model": model}, ("model",)
        self._steps = Counter("dermray_steps", "steps of images, whatever their batches", keys)
        self._seconds = Counter("dermray_drawing_seconds", "in which the thread drew", keys)
        self._images = Counter("dermray_images_drawn", "images that were finished", keys)
        self._waiting = Gauge("dermray_images_waiting", "images that had no turn in the last step", keys)
        self._batch = Histogram("dermray_drawing_batch", "images in a step", [1, 2, 4, 8, 16, 32, 64, 128], keys)
        for metric in (self._steps, self._seconds, self._images, self._waiting, self._batch):
            metric.set_default_tags(tags)

    def step(self, step: Step) -> None:
        """A step of the thread."""
        self._waiting.set(step.waiting)
        if not step.images:
            return
        self._steps.inc(step.images)
        self._seconds.inc(step.seconds)
        self._batch.observe(step.images)
        if step.finished:
            self._images.inc(step.finished)
