"""The endpoints as FastAPI describes them, behind the door."""

from typing import Any

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline  # /docs with its scripts from here: a page of ours asks no other host

from dermray.serving.door.door import Door
from dermray.serving.errors import ErrorResponse, handle_errors
from dermray.serving.keys import Keys, keys_from_environment
from dermray.serving.routes import classifications, health, images, models
from dermray.serving.routes.shared import admitted, bearer
from dermray.serving.service import Service
from dermray.serving.settings import Limits

# What the door answers on any path, and what endpoints answer. There is no 422: OpenAI's clients know 400.
STATUSES = (400, 401, 403, 404, 405, 408, 413, 414, 415, 429, 431, 500, 503)
ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorResponse} for status in STATUSES}


def api_of(service: Service, keys: Keys | None = None, served: bool = False) -> FastAPI:
    """All endpoints over the models of a service; keys are the environment's where none are given.

    Raises:
        ValueError: no keys.
    """
    api = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        static_url="/docs/assets",
        title="dermray",
        version="1",
        description="Synthetic skin-lesion images, and a research classifier. Not a medical device.",
    )
    api.state.service = service
    handle_errors(api)
    api.include_router(health.router, responses=ERRORS)
    api.include_router(models.router, prefix="/v1", dependencies=[Depends(bearer)], responses=ERRORS)
    api.include_router(images.kept, prefix="/v1", responses=ERRORS)
    for part in (images, classifications):
        work = [Depends(bearer), Depends(admitted)]
        api.include_router(part.router, prefix="/v1", dependencies=work, responses=ERRORS)
    api.add_middleware(
        Door, keys=keys or keys_from_environment(), limits=service.config.limits, admission=service.admission,
        quotas=service.quotas, served=served,
    )  # fmt: skip
    _describe(api, service.config.limits)
    return api


def _describe(api: FastAPI, limits: Limits) -> None:
    """OpenAPI with this service's limits, and without FastAPI's own answer to bodies that do not fit: ours is a 400."""
    described = api.openapi

    def openapi() -> dict[str, Any]:
        schema = described()
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(name, None)
        asked = schema["components"]["schemas"]["GenerationRequest"]["properties"]
        for name, bound, most in (
            ("n", "maximum", limits.images_drawn),
            ("steps", "maximum", limits.steps),
            ("prompt", "maxLength", limits.prompt),
            ("negative_prompt", "maxLength", limits.prompt),
        ):
            asked[name]["anyOf"][0][bound] = most  # the other is null
        return schema

    api.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way of changing it
