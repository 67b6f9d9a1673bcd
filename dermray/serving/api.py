"""The endpoints as FastAPI describes them, behind the door."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline  # /docs with its scripts from here: a page of ours asks no other host

from dermray.serving.door.door import Door
from dermray.serving.errors import ErrorResponse, handle_errors
from dermray.serving.keys import Keys, keys_from_environment
from dermray.serving.routes import (
    captions,
    classifications,
    health,
    images,
    jobs,
    models,
    reader_studies,
    runs,
    web,
)
from dermray.serving.routes.shared import admitted, bearer
from dermray.serving.service import Service
from dermray.serving.settings import ServiceConfig

# What the door answers on any path, and what endpoints answer. There is no 422: OpenAI's clients know 400.
STATUSES = (400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 429, 431, 500, 502, 503)
ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorResponse} for status in STATUSES}


def api_of(service: Service, keys: Keys | None = None, served: bool = False) -> FastAPI:
    """All endpoints over the models of a service; keys are the environment's where none are given.

    Raises:
        ValueError: no keys.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.runner().running():
            yield

    api = FastAPIOffline(
        lifespan=lifespan,
        docs_url="/docs",
        redoc_url=None,
        static_url="/docs/assets",
        title="dermray",
        version="1",
        description="Synthetic skin-lesion images, a research classifier, and captions. Not a medical device.",
    )
    api.state.service = service
    handle_errors(api)
    api.include_router(web.router)
    api.include_router(health.router, responses=ERRORS)
    api.include_router(models.router, prefix="/v1", dependencies=[Depends(bearer)], responses=ERRORS)
    api.include_router(images.kept, prefix="/v1", responses=ERRORS)
    api.include_router(jobs.router, prefix="/v1", dependencies=[Depends(bearer)], responses=ERRORS)
    api.include_router(jobs.fetched, prefix="/v1", responses=ERRORS)
    api.include_router(reader_studies.page)
    api.include_router(reader_studies.read, prefix="/v1", responses=ERRORS)
    api.include_router(
        reader_studies.read_out, prefix="/v1", dependencies=[Depends(bearer)], responses=ERRORS
    )  # fmt: skip
    api.include_router(runs.router, prefix="/v1", dependencies=[Depends(bearer)], responses=ERRORS)
    api.include_router(runs.opened, prefix="/v1", responses=ERRORS)
    for part in (images, classifications, captions):
        work = [Depends(bearer), Depends(admitted)]
        api.include_router(part.router, prefix="/v1", dependencies=work, responses=ERRORS)
    api.add_middleware(
        Door, keys=keys or keys_from_environment(), limits=service.config.limits, admission=service.admission,
        quotas=service.quotas, served=served,
    )  # fmt: skip
    _describe(api, service.config)
    return api


def _describe(api: FastAPI, config: ServiceConfig) -> None:
    """OpenAPI with this service's limits, and without FastAPI's own answer to bodies that do not fit: ours is a 400."""
    described, limits = api.openapi, config.limits

    def openapi() -> dict[str, Any]:
        schema = described()
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(name, None)
        for request, most_images in (("GenerationRequest", limits.images_drawn), ("JobRequest", config.jobs.images)):
            asked = schema["components"]["schemas"][request]["properties"]
            for name, bound, most in (
                ("n", "maximum", most_images),
                ("steps", "maximum", limits.steps),
                ("prompt", "maxLength", limits.prompt),
                ("negative_prompt", "maxLength", limits.prompt),
            ):
                asked[name]["anyOf"][0][bound] = most  # the other is null
        return schema

    api.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way of changing it
