"""The generator behind POST /v1/images/generations."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray import serve

from dermray.generators.adapter_rack import AdapterRack
from dermray.generators.base import Request
from dermray.generators.coverage import coverage, losses, too_long, unknown_words, unreadable
from dermray.provenance import signing, text
from dermray.provenance.settings import SigningConfig
from dermray.serving.adapters.base import Base, base_of
from dermray.serving.adapters.held import Held, HeldAdapters, Unusable
from dermray.serving.adapters.place import AdapterPlace, said_of
from dermray.serving.drawing.easel import Easel, Wanted
from dermray.serving.drawing.gate import Gate, open_gate
from dermray.serving.drawing.metrics import Meter
from dermray.serving.opening import Place, open_generator
from dermray.serving.placing import placed
from dermray.serving.schemas import Reading
from dermray.serving.settings import ServedGenerator

TELLS = 0.5  # seconds between two words on how many steps were taken


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
    adapter: AdapterPlace | None = None  # instead of what the generator has learned itself


@dataclass(frozen=True)
class Drawn:
    """An image of a seed."""

    seed: int
    png: bytes | None  # none where the gate refused it
    distance: float | None = None  # as a share of what the gate allows, where there is one


@serve.deployment
class Generation:
    """Draws images of concurrent requests together, in a thread of its own."""

    def __init__(self, model: ServedGenerator, place: Place, provenance: SigningConfig | None = None) -> None:
        torch.set_num_threads(max(1, int(model.cpus_per_replica)))
        self.model, self.place, self.licence = model, place, place.licence
        self.signer = signing.opened(provenance) if provenance else None  # the key is read here, and sent by nobody
        self.gate: Gate | None = open_gate(model.gate, place.version) if model.gate else None
        self.generator, self.readers, self.family = open_generator(place)
        if model.sizes and not self.generator.any_size:
            raise ValueError(f"sizes={list(model.sizes)}: {self.family} draws {self.generator.image_size} px alone")
        placed(self.generator, model)
        self.generator.rows = model.rows or None
        rack = AdapterRack(self.generator) if model.takes_adapters else None
        use = rack.use if rack else lambda slot: None
        self.easel = Easel(self.generator, model.batch_size, Meter(model.name).step, use)
        self.base: Base | None = base_of(model.name, place) if rack else None
        self.adapters: HeldAdapters | None = None
        if rack:
            multiplexed = serve.multiplexed(max_num_models_per_replica=model.adapters_held)
            self.adapters = HeldAdapters(rack, self.easel, multiplexed)
        self._finishing = ThreadPoolExecutor(1, "finishing")  # PNGs and the gate

    def about(self) -> dict[str, Any]:
        """Image sizes in px, licence, version of the weights, whether it can be led away from a text; and what adapters
        must have been made for, where it takes any."""
        size = self.generator.image_size
        return {
            "version": self.place.version, "licence": self.licence, "image_size": size,
            "sizes": sorted({size, *self.model.sizes}), "negative_prompts": self.generator.negative_prompts,
            "base": self.base,
        }  # fmt: skip

    def at_work(self) -> tuple[int, int]:
        """Images that are asked for and not drawn, and steps of images so far."""
        return self.easel.unfinished, self.easel.steps

    def holds(self) -> list[str]:
        """Adapters that are in memory, by name."""
        return sorted(held.adapter.name for held in self.adapters.held.values()) if self.adapters else []

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
        async with self._with_adapter(drawing) as held:
            _, futures = self._begun(drawing, held)
            try:
                pixels = await asyncio.gather(*map(asyncio.wrap_future, futures))
            finally:
                for future in futures:
                    future.cancel()
        each = zip(drawing.seeds, pixels, strict=True)
        return list(await asyncio.gather(*(self._finished(drawing, held, seed, image) for seed, image in each)))

    async def draw_stepwise(self, drawing: Drawing) -> AsyncIterator[int | Drawn]:
        """The same, each image when it is there; and, whenever they are more, the steps that were taken so far."""
        async with self._with_adapter(drawing) as held:
            wanted, futures = self._begun(drawing, held)
            waiting = {asyncio.wrap_future(future): seed for future, seed in zip(futures, drawing.seeds, strict=True)}
            told = 0
            try:
                while waiting:
                    done, _ = await asyncio.wait(waiting, timeout=TELLS, return_when=asyncio.FIRST_COMPLETED)
                    for image in done:
                        yield await self._finished(drawing, held, waiting.pop(image), image.result())
                    if (steps := self.easel.steps_taken(wanted, futures)) > told:
                        told = steps
                        yield steps
            finally:
                for future in futures:
                    future.cancel()

    @asynccontextmanager
    async def _with_adapter(self, drawing: Drawing) -> AsyncIterator[Held | None]:
        """The adapter that is asked for, held for as long as it is drawn with."""
        if drawing.adapter is None:
            yield None
        elif self.adapters is None:
            raise Unusable(f"{self.model.name} takes no adapters")
        else:
            async with self.adapters.using(drawing.adapter) as held:
                yield held

    def _begun(self, drawing: Drawing, held: Held | None) -> "tuple[list[Wanted], list[Future[np.ndarray]]]":
        of = [Request(drawing.prompt, seed, drawing.size, drawing.negative_prompt) for seed in drawing.seeds]
        slot = held.slot if held else None
        wanted = [Wanted(request, drawing.guidance_scale, drawing.steps, slot) for request in of]
        return wanted, self.easel.draw(wanted, drawing.client)

    async def _finished(self, drawing: Drawing, held: Held | None, seed: int, pixels: np.ndarray) -> Drawn:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._finishing, self._finish, drawing, held, seed, pixels)

    def _finish(self, drawing: Drawing, held: Held | None, seed: int, pixels: np.ndarray) -> Drawn:
        gate = held.gate if held else self.gate  # that of the one says nothing of what the other has learned
        distance = gate.distance(pixels) if gate else None
        if gate and distance is not None and gate.refuses(distance):
            return Drawn(seed, None, distance)
        said = text.said(
            family=self.family, generator=self.place.version, licence=self.licence, prompt=drawing.prompt, seed=seed,
            guidance_scale=drawing.guidance_scale, steps=drawing.steps, model=self.model.name,
        )  # fmt: skip
        if held:
            said |= said_of(held.adapter, self.model.name, self.licence)
        if drawing.negative_prompt:
            said["negative_prompt"] = drawing.negative_prompt
        if distance is not None:
            said["gate_distance"] = f"{distance:.6g}"
        png = text.png(pixels, said)
        return Drawn(seed, self.signer.sign(png, said) if self.signer else png, distance)
