"""What is served."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path

from dermray.serving.routes.shared import Served
from dermray.serving.schemas import Model, ModelList
from dermray.serving.service import Service
from dermray.serving.settings import NAME, ServedClassifier, ServedGenerator

router = APIRouter(tags=["models"])
Name = Annotated[str, Path(json_schema_extra={"pattern": NAME})]  # others are not found


@router.get("/models")
async def models(service: Served) -> ModelList:
    """All models by the names that requests give."""
    return ModelList(data=list(await asyncio.gather(*(_said(service, model) for model in service.config.models))))


@router.get("/models/{model}")
async def one_model(model: Name, service: Served) -> Model:
    """One of them."""
    return await _said(service, service.named(model))


async def _said(service: Service, model: ServedGenerator | ServedClassifier) -> Model:
    return Model(id=model.name, task=model.task, **await service.handles[model.name].about.remote())
