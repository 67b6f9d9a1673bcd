"""The generator behind POST /v1/images/generations."""

from collections import defaultdict
from typing import Any

import numpy as np
from ray import serve

from dermray import manifest
from dermray.datasets.phantom import encode_png
from dermray.generators.base import Request
from dermray.generators.coverage import coverage, losses, too_long, unknown_words, unreadable
from dermray.serving.schemas import Reading
from dermray.training.run import load_generator, load_readers

Drawing = tuple[str, int, float, int]  # prompt, seed, guidance scale, steps


@serve.deployment(max_ongoing_requests=64)
class Generation:
    """Draws images of concurrent requests in one batch."""

    def __init__(self, train_result: str, device: str = "cpu") -> None:
        result = manifest.read(train_result, "train")
        self.generator, self.readers = load_generator(result).to(device), load_readers(result)
        self.id = f"{result.manifest.config['family']}-{result.manifest.key}"
        self.licence = " AND ".join(result.manifest.licences) or "unknown"

    def about(self) -> dict[str, Any]:
        """Id, image size and licence."""
        return {"id": self.id, "image_size": self.generator.image_size, "licence": self.licence}

    def read(self, prompt: str) -> Reading:
        """What of a prompt reaches the generator."""
        covered = coverage(self.readers, [prompt])
        refusal = unreadable(covered)
        if refusal is None and (length := too_long(covered)):
            refusal = f"the prompt has {length}: shorten it"
        return Reading(refusal=refusal, unknown_words=unknown_words(self.readers, prompt), warnings=losses(covered))

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.02)
    async def draw(self, drawings: list[Drawing]) -> list[bytes]:
        """One PNG per drawing. Drawings that share guidance and steps are sampled together."""
        alike: dict[tuple[float, int], list[int]] = defaultdict(list)
        for number, (_, _, guidance_scale, steps) in enumerate(drawings):
            alike[(guidance_scale, steps)].append(number)
        images: dict[int, np.ndarray] = {}
        for (guidance_scale, steps), numbers in alike.items():
            requests = [Request(drawings[i][0], drawings[i][1]) for i in numbers]
            pixels = self.generator.sample(requests, guidance_scale, steps).permute(0, 2, 3, 1).numpy()
            images |= dict(zip(numbers, pixels, strict=True))
        return [encode_png(images[number]) for number in range(len(drawings))]
