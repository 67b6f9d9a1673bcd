"""POST /v1/images/generations, as OpenAI's, and the images that its URLs point to."""

import asyncio
import base64
import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from dermray.records import sample_id
from dermray.serving.drawing.store import NAME, StoreFull
from dermray.serving.errors import ApiError
from dermray.serving.generation import Drawing, Drawn
from dermray.serving.image_schemas import (
    GeneratedImage,
    GenerationRequest,
    GenerationResponse,
    RefusedImage,
)
from dermray.serving.routes.settled import new_seeds, settled
from dermray.serving.routes.shared import Asker, Served
from dermray.serving.service import Service

router = APIRouter(tags=["images"])
kept = APIRouter(tags=["images"])  # needs no key: whoever has the URL has the image
KeptName = Annotated[str, Path(json_schema_extra={"pattern": f"^{NAME.pattern}$"})]  # others are not found
REDRAWN = 3  # times that seeds which the gate refused are replaced, where the client named none


@router.post("/images/generations", response_model_exclude_none=True)
async def generate(request: GenerationRequest, service: Served, key: Asker, http: Request) -> GenerationResponse:
    """Draw images from a prompt, from attributes, or from both."""
    asked = await settled(request, service, key, service.config.limits.images_drawn)
    model, drawing = asked.model, asked.drawing
    drawn = await _draw(asked.handle, drawing, fixed=request.seed is not None)
    served = [one for one in drawn if one.png is not None]
    refused = [RefusedImage(seed=one.seed, gate_distance=one.distance or 0) for one in drawn if one.png is None]
    if not served:
        raise ApiError(
            400, f"seed: every image of the seeds {[one.seed for one in refused]} lies nearer to a training image than "
            "the gate allows; take another seed or prompt", param="seed", code="gate_refused",
        )  # fmt: skip
    said = drawing.prompt if request.attributes else None
    urls = await _urls(service, served, http) if request.response_format == "url" else [None] * len(served)
    return GenerationResponse(
        created=int(time.time()), model=model.name, licence=asked.licence, size=f"{drawing.size}x{drawing.size}",
        unknown_words=asked.reading.unknown_words, warnings=asked.reading.warnings, refused=refused,
        data=[_image(one, url, said) for one, url in zip(served, urls, strict=True)],
    )  # fmt: skip


@kept.get("/images/kept/{name}", response_class=Response)
async def image(name: KeptName, service: Served) -> Response:
    """A PNG that an answer pointed to, for an hour."""
    found = await asyncio.to_thread(service.store.find, name)
    if found is None:
        raise ApiError(404, "no such image, or it has expired: draw it again by its seed", code="image_not_found")
    return Response(found, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


async def _draw(handle: Any, drawing: Drawing, fixed: bool) -> list[Drawn]:
    """An image of each seed; where the seeds are ours, those that the gate refuses give way to others."""
    drawn: list[Drawn] = await handle.draw.remote(drawing)
    for _ in range(0 if fixed else REDRAWN):
        missing = [place for place, one in enumerate(drawn) if one.png is None]
        if not missing:
            break
        again = Drawing(**vars(drawing) | {"seeds": new_seeds(None, len(missing))})
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
