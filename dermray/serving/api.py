"""The endpoints as FastAPI describes them."""

from fastapi import Depends, FastAPI

from dermray.serving.errors import ErrorResponse, handle_errors
from dermray.serving.keys import keys_from_environment, require_key
from dermray.serving.routes import classifications, health, images, models
from dermray.serving.service import Service

ERRORS = {status: {"model": ErrorResponse} for status in (400, 401, 404, 413, 429, 500, 503)}


def api_of(service: Service) -> FastAPI:
    """All endpoints over the models of a service."""
    api = FastAPI(
        title="dermray",
        version="1",
        description="Synthetic skin-lesion images, and a research classifier. Not a medical device.",
    )
    api.state.service = service
    handle_errors(api)
    key = Depends(require_key(keys_from_environment))
    api.include_router(health.router)
    api.include_router(images.kept, prefix="/v1", responses=ERRORS)  # type: ignore[arg-type]
    for part in (models, images, classifications):
        api.include_router(part.router, prefix="/v1", dependencies=[key], responses=ERRORS)  # type: ignore[arg-type]
    return api
