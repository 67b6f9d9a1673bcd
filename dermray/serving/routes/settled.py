"""What a request for images asks for, once everything in it was checked and what it leaves open is settled."""

import asyncio
import re
import secrets
from dataclasses import dataclass
from typing import Any

from dermray.captioning.compose import joined
from dermray.serving.errors import ApiError
from dermray.serving.generation import Drawing
from dermray.serving.image_schemas import MAX_SEED, GenerationRequest
from dermray.serving.keys import Key
from dermray.serving.schemas import Reading
from dermray.serving.service import Service
from dermray.serving.settings import ServedGenerator


@dataclass(frozen=True)
class Settled:
    """What is drawn, by which model, and what its answer says of the prompt."""

    model: ServedGenerator
    handle: Any
    drawing: Drawing
    licence: str
    version: str  # of the model's weights
    reading: Reading


async def settled(request: GenerationRequest, service: Service, key: Key, most: int) -> Settled:
    """Check a request for at most so many images, and count them among the key's.

    Raises:
        ApiError: 400 with the field, 404 for a model that is not served, 429 for a quota that is used up.
    """
    model, handle = await service.drawing_with(request.model)
    _check(request, service, most)
    prompt = _prompt(request, service)
    about, reading = await asyncio.gather(handle.about.remote(), handle.read.remote(prompt))
    size = _size(request, about, model.name)
    _check_reading(reading, request, about, model.name)
    service.quotas.images(key, request.n or 1)
    drawing = Drawing(
        prompt, new_seeds(request.seed, request.n or 1),
        model.guidance_scale if request.guidance_scale is None else request.guidance_scale,
        request.steps or model.steps, size, request.negative_prompt or "", key.name,
    )  # fmt: skip
    return Settled(model, handle, drawing, about["licence"], about["version"], reading)


def new_seeds(first: int | None, n: int) -> list[int]:
    """One after the other, from a random one where none is given."""
    start = secrets.randbelow(MAX_SEED) if first is None else first
    return [(start + i) % MAX_SEED for i in range(n)]


def _check(request: GenerationRequest, service: Service, most_images: int) -> None:
    limits = service.config.limits
    for field, value, most in (("n", request.n, most_images), ("steps", request.steps, limits.steps)):
        if value is not None and value > most:
            raise ApiError(400, f"{field}={value}: expected at most {most}", param=field, code="invalid_value")
    site = request.attributes.site if request.attributes else None
    for field, text in (
        ("prompt", request.prompt), ("negative_prompt", request.negative_prompt), ("attributes.site", site),
    ):  # fmt: skip
        if text is not None and len(text) > limits.prompt:
            raise ApiError(
                400, f"{field}: expected at most {limits.prompt} characters, got {len(text)}", param=field
            )  # fmt: skip
        if text is not None and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ApiError(400, f"{field}: half of a surrogate pair; send whole characters", param=field)
        if text is not None and "\0" in text:  # which no PNG can say
            raise ApiError(400, f"{field}: holds a NUL character; leave it out", param=field)


def _prompt(request: GenerationRequest, service: Service) -> str:
    """As the captions were written that the generator learned from."""
    row = request.attributes.model_dump(exclude_none=True) if request.attributes else {}
    prompt = joined(row, request.prompt or "")
    if not prompt:
        raise ApiError(400, "prompt: expected at least one character, or attributes", param="prompt")
    if len(prompt) > service.config.limits.prompt:
        raise ApiError(400, f"prompt: with its attributes {len(prompt)} characters: shorten it", param="prompt")
    return prompt


def _size(request: GenerationRequest, about: dict[str, Any], model: str) -> int:
    """px of a side."""
    sizes = about["sizes"]
    if request.size in (None, "auto"):
        return int(about["image_size"])
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", str(request.size))
    if not found or found[1] != found[2] or int(found[1]) not in sizes:
        possible = ", ".join(f"{size}x{size}" for size in sizes)
        raise ApiError(400, f"size={str(request.size)[:20]!r}: {model} draws {possible}", "size", "invalid_value")
    return int(found[1])


def _check_reading(reading: Reading, request: GenerationRequest, about: dict[str, Any], model: str) -> None:
    if reading.refusal:
        raise ApiError(400, f"prompt: {reading.refusal}", param="prompt", code="unreadable_prompt")
    if request.negative_prompt and not about["negative_prompts"]:
        raise ApiError(
            400, f"negative_prompt: {model} cannot be led away from a text; leave it out", param="negative_prompt"
        )
