"""POST /v1/classifications."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dermray.datasets.decode import EXPECTED
from dermray.serving.classification.answers import ClassificationResponse, ImageResult, explained, response, results
from dermray.serving.classification.asked import Asked, body_schema, read
from dermray.serving.classification.way import Way
from dermray.serving.errors import ApiError
from dermray.serving.routes.shared import Asker, Served
from dermray.serving.service import Service
from dermray.serving.settings import Limits

router = APIRouter(tags=["classifications"])
EXPLAINED = 4  # images of a request with saliency: each takes as long as 64 without


@router.post("/classifications", response_model=ClassificationResponse, openapi_extra=body_schema())
async def classify(request: Request, service: Served, key: Asker) -> Response:
    """Score one image or several: JPEG, PNG, WebP, TIFF, BMP or GIF, as multipart files or base64 in JSON.

    An image that cannot be read gets an `error` in its place and the others their results. Where no image of a request
    can be read the answer is a 400 (413 where all are too large) that says what is wrong with the first.
    """
    limits = service.config.limits
    asked = await read(request, limits)
    name, way = _way(service, asked.model)
    if asked.saliency and len(asked.images) > EXPLAINED:
        raise ApiError(
            400, f"saliency: expected at most {EXPLAINED} images, got {len(asked.images)}; send fewer, or without it",
            param="saliency", code="too_many",
        )  # fmt: skip
    fitting = [image for image in asked.images if len(image) <= limits.image_bytes]
    if not fitting:
        raise ApiError(
            413, f"image larger than {limits.image_bytes} bytes: send a smaller one", param="image", code="too_large"
        )
    service.quotas.images(key, len(fitting))
    about, scores = await way.score(fitting)
    if all(score.reason for score in scores):
        raise unreadable(str(scores[0].reason), limits)
    said = results([len(image) <= limits.image_bytes for image in asked.images], scores, about, limits.image_bytes)
    if asked.saliency:
        await _explain(way, asked, said)
    return Response(response(name, about, said).model_dump_json(), media_type="application/json")


def _way(service: Service, model: str | None) -> tuple[str, Way]:
    found, handle = service.classifier(model)
    if found.name not in service.ways:
        service.ways[found.name] = Way(found, handle, service.config.limits.image_pixels)
    return found.name, service.ways[found.name]


def unreadable(reason: str, limits: Limits) -> ApiError:
    """Of a request none of whose images can be read: why the first cannot, and what can."""
    kinds = "one" if EXPECTED in reason else EXPECTED
    return ApiError(
        400, f"{reason}: send {kinds} of at most {limits.image_pixels} pixels", param="image", code="bad_image"
    )


async def _explain(way: Way, asked: Asked, said: list[ImageResult]) -> None:
    """One picture after the other, so that other requests' images go between."""
    for image, result in zip(asked.images, said, strict=True):
        if result.error is None:
            result.saliency = explained(*await way.explain(image))
