"""The generator behind POST /v1/images/generations."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray import serve

from dermray.datasets.phantom import encode_png
from dermray.generators.base import Request
from dermray.generators.coverage import coverage, losses, too_long, unknown_words, unreadable
from dermray.serving.opening import Place, open_generator
from dermray.serving.placing import placed
from dermray.serving.schemas import Reading
from dermray.serving.settings import ServedGenerator


@dataclass(frozen=True)
class Drawing:
    """What a request draws: an image of each seed."""

    prompt: str
    seeds: list[int]
    guidance_scale: float
    steps: int


Single = tuple[str, int, float, int]  # prompt, seed, guidance scale, steps


@serve.deployment
class Generation:
    """Draws images of concurrent requests in one batch."""

    def __init__(self, model: ServedGenerator, place: Place) -> None:
        self.generator, self.readers, self.family = open_generator(place)
        placed(self.generator, model)
        self.licence = place.licence

    def about(self) -> dict[str, Any]:
        """Image size in px and licence."""
        return {"image_size": self.generator.image_size, "licence": self.licence}

    def read(self, prompt: str) -> Reading:
        """What of a prompt reaches the generator."""
        covered = coverage(self.readers, [prompt])
        refusal = unreadable(covered)
        if refusal is None and (length := too_long(covered)):
            refusal = f"the prompt has {length}: shorten it"
        return Reading(refusal=refusal, unknown_words=unknown_words(self.readers, prompt), warnings=losses(covered))

    async def draw(self, drawing: Drawing) -> list[bytes]:
        """A PNG of each seed."""
        wanted = [(drawing.prompt, seed, drawing.guidance_scale, drawing.steps) for seed in drawing.seeds]
        return list(await asyncio.gather(*(self._draw(single) for single in wanted)))

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.02)
    async def _draw(self, drawings: list[Single]) -> list[bytes]:
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
