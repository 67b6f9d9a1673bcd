"""POST /v1/images/generations, as OpenAI's, and the images that its URLs point to."""

import asyncio
import base64
import re
import secrets
import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from dermray.captioning.compose import joined
from dermray.records import sample_id
from dermray.serving.drawing.store import NAME, StoreFull
from dermray.serving.errors import ApiError
from dermray.serving.generation import Drawing, Drawn
from dermray.serving.image_schemas import (
    MAX_SEED,
    GeneratedImage,
    GenerationRequest,
    GenerationResponse,
    RefusedImage,
)
from dermray.serving.routes.shared import Asker, Served
from dermray.serving.schemas import Reading
from dermray.serving.service import Service
from dermray.serving.settings import ServedGenerator

router = APIRouter(tags=["images"])
kept = APIRouter(tags=["images"])  # needs no key: whoever has the URL has the image
KeptName = Annotated[str, Path(json_schema_extra={"pattern": f"^{NAME.pattern}$"})]  # others are not found
REDRAWN = 3  # times that seeds which the gate refused are replaced, where the client named none


@router.post("/images/generations", response_model_exclude_none=True)
async def generate(request: GenerationRequest, service: Served, key: Asker, http: Request) -> GenerationResponse:
    """Draw images from a prompt, from attributes, or from both."""
    model, handle = service.generator(request.model)
    _check(request, service, model)
    prompt = _prompt(request, service)
    about, reading = await asyncio.gather(handle.about.remote(), handle.read.remote(prompt))
    size = _size(request, about, model.name)
    _check_reading(reading, request, about, model.name)
    service.quotas.images(key, request.n or 1)
    drawing = Drawing(
        prompt, _seeds(request.seed, request.n or 1),
        model.guidance_scale if request.guidance_scale is None else request.guidance_scale,
        request.steps or model.steps, size, request.negative_prompt or "", key.name,
    )  # fmt: skip
    drawn = await _draw(handle, drawing, fixed=request.seed is not None)
    served = [one for one in drawn if one.png is not None]
    refused = [RefusedImage(seed=one.seed, gate_distance=one.distance or 0) for one in drawn if one.png is None]
    if not served:
        raise ApiError(
            400, f"seed: every image of the seeds {[one.seed for one in refused]} lies nearer to a training image than "
            "the gate allows; take another seed or prompt", param="seed", code="gate_refused",
        )  # fmt: skip
    urls = await _urls(service, served, http) if request.response_format == "url" else [None] * len(served)
    return GenerationResponse(
        created=int(time.time()), model=model.name, licence=about["licence"], size=f"{size}x{size}",
        unknown_words=reading.unknown_words, warnings=reading.warnings, refused=refused,
        data=[_image(one, url, prompt if request.attributes else None) for one, url in zip(served, urls, strict=True)],
    )  # fmt: skip


@kept.get("/images/kept/{name}", response_class=Response)
async def image(name: KeptName, service: Served) -> Response:
    """A PNG that an answer pointed to, for an hour."""
    found = await asyncio.to_thread(service.store.find, name)
    if found is None:
        raise ApiError(404, "no such image, or it has expired: draw it again by its seed", code="image_not_found")
    return Response(found, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


def _check(request: GenerationRequest, service: Service, model: ServedGenerator) -> None:
    limits = service.config.limits
    for field, value, most in (("n", request.n, limits.images_drawn), ("steps", request.steps, limits.steps)):
        if value is not None and value > most:
            raise ApiError(400, f"{field}={value}: expected at most {most}", param=field, code="invalid_value")
    for field, text in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
        if text is not None and len(text) > limits.prompt:
            raise ApiError(
                400, f"{field}: expected at most {limits.prompt} characters, got {len(text)}", param=field
            )  # fmt: skip
        if text is not None and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ApiError(400, f"{field}: half of a surrogate pair; send whole characters", param=field)


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


def _seeds(first: int | None, n: int) -> list[int]:
    start = secrets.randbelow(MAX_SEED) if first is None else first
    return [(start + i) % MAX_SEED for i in range(n)]


async def _draw(handle: Any, drawing: Drawing, fixed: bool) -> list[Drawn]:
    """An image of each seed; where the seeds are ours, those that the gate refuses give way to others."""
    drawn: list[Drawn] = await handle.draw.remote(drawing)
    for _ in range(0 if fixed else REDRAWN):
        missing = [place for place, one in enumerate(drawn) if one.png is None]
        if not missing:
            break
        again = Drawing(**vars(drawing) | {"seeds": _seeds(None, len(missing))})
        for place, one in zip(missing, await handle.draw.remote(again), strict=True):
            drawn[place] = one
    return drawn


async def _urls(service: Service, served: list[Drawn], http: Request) -> list[str]:
    try:
        names = await asyncio.to_thread(service.store.keep, [one.png for one in served if one.png is not None])
    except StoreFull as error:
        message = f"{error}: ask for response_format=b64_json, or later"
        raise ApiError(503, message, "response_format", "store_full", {"Retry-After": "60"}) from None
    base = (service.config.kept_images.public_url or str(http.base_url)).rstrip("/")
    return [f"{base}/v1/images/kept/{name}" for name in names]


def _image(one: Drawn, url: str | None, prompt: str | None) -> GeneratedImage:
    assert one.png is not None
    return GeneratedImage(
        b64_json=None if url else base64.b64encode(one.png).decode(), url=url, revised_prompt=prompt, seed=one.seed,
        sample_id=sample_id(one.png), gate_distance=one.distance,
    )  # fmt: skip
