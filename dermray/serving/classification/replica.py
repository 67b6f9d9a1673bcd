"""The classifier in a replica of its own."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray import serve

from dermray.classification import saliency
from dermray.classification.features import WithFeatures
from dermray.classification.saved import Saved
from dermray.classification.training import to_probabilities
from dermray.classification.validated import OperatingPoint
from dermray.serving.classification.batching import Batcher
from dermray.serving.classification.decoding import Decoder, Upload
from dermray.serving.classification.measures import Measures
from dermray.serving.opening import Place, open_classifier
from dermray.serving.placing import require_device
from dermray.serving.settings import ServedClassifier

# Of a forward pass on a CPU: EfficientNet-Lite0 took 22 ms of CPU an image for 16 of 224 px together and 34 ms for 64,
# whose activations do not fit into any cache.
PIXELS_ON_CPU = 16 * 224 * 224


@dataclass(frozen=True)
class About:
    """A classifier, as its answers name it."""

    version: str
    column: str
    classes: tuple[str, ...]
    temperature: float | None
    operating_point: OperatingPoint | None
    strange_above: float | None  # threshold of the out-of-distribution score
    false_alarm_rate: float | None


@dataclass(frozen=True)
class Score:
    """What the classifier says of an image, or what is wrong with it."""

    sample_id: str
    reason: str | None = None
    probabilities: tuple[float, ...] = ()  # calibrated where there is a temperature
    predicted: int = -1  # number of the class
    strangeness: float | None = None  # out-of-distribution score


# Its calls are the ingress's, whose requests are logged there.
@serve.deployment(logging_config={"enable_access_log": False})
class Classification:
    """Scores images of concurrent requests in one batch. Decoding and the network run in threads of their own."""

    def __init__(self, model: ServedClassifier, place: Place) -> None:
        require_device(model)
        self.model, self.saved = model, open_classifier(place)
        self.about_it = about(self.saved, place.version)
        threads = max(1, int(model.cpus_per_replica))
        torch.set_num_threads(threads)
        self.network: Any = WithFeatures(self.saved.model.to(model.device))
        if model.compile:
            self.network = torch.compile(self.network, dynamic=True)
        self.measures = Measures(model.name)
        self.decoder = Decoder(self.saved.image_size, threads, self.measures.decoded)
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self.batcher = Batcher(self._in_thread, model.batch_size)
        self._scores([np.zeros((3, self.saved.image_size, self.saved.image_size), np.uint8)])  # first calls are slow

    def about(self) -> dict[str, Any]:
        """Image size in px."""
        return {"image_size": self.saved.image_size}

    async def score(self, images: list[bytes], max_pixels: int) -> tuple[About, list[Score]]:
        """Of encoded images, each in its place."""
        uploads = await self.decoder.decode(images, max_pixels)
        shown = [upload.pixels for upload in uploads if upload.pixels is not None]
        found = iter(await self.batcher(shown) if shown else [])
        return self.about_it, [self._said(upload, found) for upload in uploads]

    async def explain(self, image: bytes, max_pixels: int) -> tuple[bytes, float]:
        """A PNG of the squares that the predicted class depends on, and the largest fall of its probability.

        The image was scored before. Batches of other requests go between two pictures, and not into one.
        """
        [upload] = await self.decoder.decode([image], max_pixels)
        assert upload.pixels is not None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.thread, self._picture, upload.pixels)

    def _said(self, upload: Upload, found: Any) -> Score:
        if upload.reason is not None:
            return Score(upload.sample_id, upload.reason)
        probabilities, predicted, strangeness = next(found)
        return Score(upload.sample_id, None, probabilities, predicted, strangeness)

    async def _in_thread(self, images: list[np.ndarray]) -> list[tuple[tuple[float, ...], int, float | None]]:
        return await asyncio.get_running_loop().run_in_executor(self.thread, self._scores, images)

    def _scores(self, images: list[np.ndarray]) -> list[tuple[tuple[float, ...], int, float | None]]:
        """Probabilities, number of the predicted class and out-of-distribution score of images (3, S, S) uint8."""
        most = self._at_once()
        return [
            score for first in range(0, len(images), most) for score in self._batch(images[first : first + most])
        ]  # fmt: skip

    def _at_once(self) -> int:
        """Images of a forward pass."""
        if self.model.device != "cpu":
            return self.model.batch_size
        return min(self.model.batch_size, max(1, PIXELS_ON_CPU // self.saved.image_size**2))

    def _batch(self, images: list[np.ndarray]) -> list[tuple[tuple[float, ...], int, float | None]]:
        started = time.perf_counter()
        probabilities, features = self._forward(np.stack(images))
        calibration, outliers = self.saved.validated.calibration, self.saved.validated.outliers
        predicted = calibration.decide(probabilities) if calibration else probabilities.argmax(1)
        strange = outliers.scores(features).tolist() if outliers else [None] * len(images)
        self.measures.scored(len(images), time.perf_counter() - started)
        return list(zip(map(tuple, probabilities.tolist()), predicted.tolist(), strange, strict=True))

    def _forward(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, C) probabilities, calibrated, and (B, F) features."""
        device = torch.device(self.model.device)
        reduced = torch.autocast(device.type, torch.bfloat16, enabled=self.model.dtype == "bfloat16")
        with torch.inference_mode(), reduced:
            logits, features = self.network(torch.from_numpy(images).to(device))
        probabilities = to_probabilities(logits.float().cpu())
        calibration = self.saved.validated.calibration
        return calibration.scale(probabilities) if calibration else probabilities, features.float().cpu().numpy()

    def _picture(self, pixels: np.ndarray) -> tuple[bytes, float]:
        [(_, predicted, _)] = self._batch([pixels])
        falls = saliency.occlusion(lambda shown: self._forward(shown)[0][:, predicted], pixels)
        return saliency.picture(pixels, falls), float(falls.max())


def about(saved: Saved, version: str) -> About:
    """What answers say of a classifier; None where it was saved without."""
    told = saved.validated
    strange = (told.outliers.threshold, told.outliers.false_alarm_rate) if told.outliers else (None, None)
    target = saved.target
    return About(version, target.column, target.classes, told.temperature, told.operating_point, *strange)
