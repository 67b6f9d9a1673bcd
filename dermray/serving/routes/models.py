"""What is served."""

import asyncio

from fastapi import APIRouter

from dermray.serving.routes.shared import Served
from dermray.serving.schemas import Model, ModelList

router = APIRouter(tags=["models"])


@router.get("/models")
async def models(service: Served) -> ModelList:
    """All models by the names that requests give."""
    every = service.config.models
    said = await asyncio.gather(*(service.handles[model.name].about.remote() for model in every))
    return ModelList(
        data=[Model(id=m.name, task=m.task, **about) for m, about in zip(every, said, strict=True)]
    )  # fmt: skip
