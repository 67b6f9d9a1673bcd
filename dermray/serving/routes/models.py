"""What is served."""

import asyncio
from itertools import chain
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path

from dermray.captioning import prompts
from dermray.serving.adapters.calls import of_both
from dermray.serving.captions.settings import ServedCaptioner
from dermray.serving.routes.shared import Served
from dermray.serving.schemas import Model, ModelList
from dermray.serving.service import Service
from dermray.serving.settings import NAME, ServedClassifier, ServedGenerator

router = APIRouter(tags=["models"])
# of a model, or of one and its adapter; others are not found
Name = Annotated[str, Path(json_schema_extra={"pattern": f"{NAME[:-1]}(:{NAME[1:-1]})?$"})]
Task = Literal["generation", "classification", "captioning"]
AnyModel = ServedClassifier | ServedGenerator | ServedCaptioner


@router.get("/models")
async def models(service: Served) -> ModelList:
    """All models by the names that requests give; below each its adapters."""
    each = await asyncio.gather(*(_with_adapters(service, model) for model in service.config.models))
    return ModelList(data=list(chain.from_iterable(each)))


@router.get("/models/{model}")
async def one_model(model: Name, service: Served) -> Model:
    """One of them."""
    if ":" in model:
        drawn_with, handle = await service.drawing_with(model)
        return _told(drawn_with.name, drawn_with.task, await handle.about.remote(), model.partition(":")[0])
    return await _said(service, service.named(model))


async def _with_adapters(service: Service, model: AnyModel) -> list[Model]:
    said = await _said(service, model)
    if model.name not in service.catalogues:
        return [said]
    about = await service.handles[model.name].about.remote()
    usable = await service.catalogues[model.name].usable()
    return [said, *(_told(f"{model.name}:{a.name}", model.task, of_both(about, a), model.name) for a in usable)]


async def _said(service: Service, model: AnyModel) -> Model:
    if isinstance(model, ServedCaptioner):  # all of it is config's: an engine that starts keeps nobody waiting
        names = sorted(prompts.NAMES, key=lambda name: name != model.prompt_set)
        return Model(id=model.name, task=model.task, image_size=model.image_side, prompt_sets=names)
    return _told(model.name, model.task, await service.handles[model.name].about.remote())


def _told(name: str, task: Task, about: dict[str, Any], base: str | None = None) -> Model:
    return Model(id=name, task=task, **about | {"base": base})
