"""The generator behind POST /v1/images/generations."""

import asyncio
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray import serve

from dermray.generators.base import Request
from dermray.generators.coverage import coverage, losses, too_long, unknown_words, unreadable
from dermray.serving.drawing import provenance
from dermray.serving.drawing.easel import Easel, Wanted
from dermray.serving.drawing.gate import Gate, open_gate
from dermray.serving.drawing.metrics import Meter
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
    size: int | None = None  # px; the model's own if none
    negative_prompt: str = ""
    client: Hashable = None  # between whom turns are shared


@dataclass(frozen=True)
class Drawn:
    """An image of a seed."""

    seed: int
    png: bytes | None  # none where the gate refused it
    distance: float | None = None  # to the nearest training image, where there is a gate


@serve.deployment
class Generation:
    """Draws images of concurrent requests together, in a thread of its own."""

    def __init__(self, model: ServedGenerator, place: Place) -> None:
        torch.set_num_threads(max(1, int(model.cpus_per_replica)))
        self.model, self.place, self.licence = model, place, place.licence
        self.gate: Gate | None = open_gate(model.gate, place.version) if model.gate else None
        self.generator, self.readers, self.family = open_generator(place)
        if model.sizes and not self.generator.any_size:
            raise ValueError(f"sizes={list(model.sizes)}: {self.family} draws {self.generator.image_size} px alone")
        placed(self.generator, model)
        self.generator.rows = model.rows or None
        self.easel = Easel(self.generator, model.batch_size, Meter(model.name).step)
        self._finishing = ThreadPoolExecutor(1, "finishing")  # PNGs and the gate

    def about(self) -> dict[str, Any]:
        """Image sizes in px, licence, and whether it can be led away from a text."""
        size = self.generator.image_size
        return {
            "image_size": size, "sizes": sorted({size, *self.model.sizes}), "licence": self.licence,
            "negative_prompts": self.generator.negative_prompts,
        }  # fmt: skip

    def at_work(self) -> tuple[int, int]:
        """Images that are asked for and not drawn, and steps of images so far."""
        return self.easel.unfinished, self.easel.steps

    def drawing_seconds(self) -> tuple[float, float]:
        """In which images were drawn so far, by the clock and of CPU time."""
        return self.easel.seconds

    def check_health(self) -> None:
        """Serve starts another replica where this raises."""
        if not self.easel.alive:
            raise RuntimeError("the thread that draws has ended")

    def read(self, prompt: str) -> Reading:
        """What of a prompt reaches the generator."""
        covered = coverage(self.readers, [prompt])
        refusal = unreadable(covered)
        if refusal is None and (length := too_long(covered)):
            refusal = f"the prompt has {length}: shorten it"
        return Reading(refusal=refusal, unknown_words=unknown_words(self.readers, prompt), warnings=losses(covered))

    async def draw(self, drawing: Drawing) -> list[Drawn]:
        """An image of each seed. Where the caller gives up, they leave the thread before its next step."""
        of = [Request(drawing.prompt, seed, drawing.size, drawing.negative_prompt) for seed in drawing.seeds]
        wanted = [Wanted(request, drawing.guidance_scale, drawing.steps) for request in of]
        futures = self.easel.draw(wanted, drawing.client)
        try:
            pixels = await asyncio.gather(*map(asyncio.wrap_future, futures))
        finally:
            for future in futures:
                future.cancel()
        loop = asyncio.get_running_loop()
        finished = [
            loop.run_in_executor(self._finishing, self._finish, drawing, seed, image)
            for seed, image in zip(drawing.seeds, pixels, strict=True)
        ]
        return list(await asyncio.gather(*finished))

    def _finish(self, drawing: Drawing, seed: int, pixels: np.ndarray) -> Drawn:
        distance = self.gate.distance(pixels) if self.gate else None
        if self.gate and distance is not None and self.gate.refuses(distance):
            return Drawn(seed, None, distance)
        said = {
            "origin": "synthetic", "Software": "dermray", "model": self.model.name, "family": self.family,
            "generator": self.place.version, "licence": self.licence, "prompt": drawing.prompt, "seed": str(seed),
            "guidance_scale": str(drawing.guidance_scale), "steps": str(drawing.steps),
        }  # fmt: skip
        if drawing.negative_prompt:
            said["negative_prompt"] = drawing.negative_prompt
        if distance is not None:
            said["gate_distance"] = f"{distance:.6g}"
        return Drawn(seed, provenance.png(pixels, said), distance)
