"""POST /v1/captions."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dermray.serving.captions.answers import CaptionResponse, response
from dermray.serving.captions.asked import body_schema, read
from dermray.serving.captions.settled import settled
from dermray.serving.captions.work import Unanswered
from dermray.serving.errors import ApiError
from dermray.serving.readiness import PATIENCE
from dermray.serving.routes.classifications import unreadable
from dermray.serving.routes.shared import Asker, Served

router = APIRouter(tags=["captions"])
AGAIN = {"Retry-After": "5"}


@router.post("/captions", response_model=CaptionResponse, openapi_extra=body_schema())
async def caption(request: Request, service: Served, key: Asker) -> Response:
    """Describe one image or several in words, by the prompts and rules of acceptance of the caption stage.

    Images are JPEG, PNG, WebP, TIFF, BMP or GIF, as multipart files or base64 in JSON. Each has a status: an answer
    that may not become a caption is `rejected` with a reason, as is an image that cannot be read. Where no image of a
    request can be read the answer is a 400 (413 where all are too large).
    """
    limits = service.config.limits
    asked = await read(request, limits)
    model, handle = service.captioner(asked.wishes.model)
    work = settled(asked, model, limits)
    await _ready(model.name, handle)
    service.quotas.images(key, len(work.images))
    answered = await handle.caption.remote(work)
    if isinstance(answered, Unanswered):
        code = "unavailable" if answered.status == 503 else "endpoint_refuses"
        raise ApiError(answered.status, answered.reason, code=code, headers=AGAIN if answered.status == 503 else None)
    if all(row["answer"] is None and row["status"] == "rejected" for row in answered.rows):  # nothing was asked
        raise unreadable(answered.rows[0]["reason"], limits)
    fitting = [len(image) <= limits.image_bytes for image in asked.images]
    said = response(model.name, work, answered, fitting, limits.image_bytes)
    return Response(said.model_dump_json(), media_type="application/json")


async def _ready(name: str, handle: Any) -> None:
    """Raise `ApiError` 503 where no replica answers at once: an engine takes minutes to start, and a request that waits
    for it would only hold its place."""
    try:
        async with asyncio.timeout(PATIENCE):
            await handle.about.remote()
    except Exception as error:  # whatever keeps it from answering keeps it from working
        raise ApiError(
            503, f"the captioner {name} is not ready: its engine is starting, or is started again after it died; "
            "GET /readyz says when it is", code="unavailable", headers=AGAIN,
        ) from error  # fmt: skip
