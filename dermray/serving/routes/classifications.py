"""POST /v1/classifications."""

from typing import Annotated

from fastapi import APIRouter, UploadFile

from dermray.datasets.decode import EXPECTED
from dermray.records import sample_id
from dermray.serving.errors import ApiError
from dermray.serving.routes.shared import Asker, Served
from dermray.serving.schemas import ClassificationResponse

router = APIRouter(tags=["classifications"])


@router.post("/classifications")
async def classify(
    image: Annotated[UploadFile, f"a file of {EXPECTED}"], service: Served, key: Asker
) -> ClassificationResponse:
    """Score one image: JPEG, PNG, WebP, TIFF, BMP or GIF."""
    model, handle = service.classifier(None)
    limits = service.config.limits
    data = await image.read(limits.image_bytes + 1)
    if len(data) > limits.image_bytes:
        raise ApiError(413, f"image larger than {limits.image_bytes} bytes: send a smaller one", param="image")
    service.quotas.images(key, 1)
    score = await handle.score.remote(data, limits.image_pixels)
    if isinstance(score, str):
        raise ApiError(
            400, f"{score}: send {EXPECTED} of at most {limits.image_pixels} pixels", param="image", code="bad_image"
        )
    return ClassificationResponse(model=model.name, sample_id=sample_id(data), malignant=score)
