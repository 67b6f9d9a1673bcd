"""What the endpoints of a replica share: config, and a handle for each model."""

import getpass
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from dermray.serving.adapters.base import Base
from dermray.serving.adapters.calls import AdapterCalls
from dermray.serving.adapters.catalogue import Catalogue
from dermray.serving.captions.settings import ServedCaptioner
from dermray.serving.door.admission import Admission
from dermray.serving.door.quotas import Quotas
from dermray.serving.drawing.store import Store
from dermray.serving.errors import ApiError
from dermray.serving.jobs.desk import Desk
from dermray.serving.jobs.runner import Runner
from dermray.serving.readiness import Readiness
from dermray.serving.reading.room import Room
from dermray.serving.settings import ServedClassifier, ServedGenerator, ServiceConfig


@dataclass(frozen=True)
class Service:
    """The models by name; handles are Serve's, whose methods are those of `Generation` and `Classification`."""

    config: ServiceConfig
    handles: dict[str, Any] = field(default_factory=dict)
    ways: dict[str, Any] = field(default_factory=dict)  # of classifiers: `classification.way.Way`, made when asked
    quotas: Quotas = field(default_factory=Quotas)
    listeners: Counter[str] = field(default_factory=Counter)  # streams of jobs' events, by key

    @cached_property
    def admission(self) -> Admission:
        """Slots for work, of this ingress replica."""
        return Admission(self.config.limits.running, self.config.limits.queued)

    @cached_property
    def readiness(self) -> Readiness:
        """Which models answer."""
        return Readiness(self.handles)

    @cached_property
    def desk(self) -> Desk:
        """Where jobs are kept."""
        return Desk(self.config.jobs)

    @cached_property
    def room(self) -> Room:
        """Where reader studies are read."""
        return Room(self.config.reader_studies, self.desk)

    def runner(self) -> Runner:
        """What works on jobs, of this ingress replica."""

        async def handle_of(model: str) -> Any:
            return (await self.drawing_with(model))[1]

        return Runner(self.desk, [m.name for m in self.config.models if isinstance(m, ServedGenerator)], handle_of)

    @cached_property
    def catalogues(self) -> dict[str, Catalogue]:
        """Of the generators that take adapters, by name."""
        return {
            model.name: Catalogue(model, partial(_base_of, self.handles[model.name]))
            for model in self.config.models
            if isinstance(model, ServedGenerator) and model.takes_adapters
        }

    async def drawing_with(self, name: str | None) -> tuple[ServedGenerator, Any]:
        """As `generator`, for a generator or `generator:adapter`.

        Raises:
            ApiError: 404, there is none; 409, the adapter cannot be used.
        """
        base, colon, adapter = (name or "").partition(":")
        if not colon:
            return self.generator(name)
        model, handle = self.generator(base)
        if base not in self.catalogues:
            raise _unknown(f"model {name!r:.80} is not served: {base} takes no adapters", [base])
        found = await self.catalogues[base].find(adapter)
        return model.model_copy(update={"name": name}), AdapterCalls(handle, found, base)

    def generator(self, name: str | None) -> tuple[ServedGenerator, Any]:
        """The generator that a request names, or the first one; raises `ApiError` 404 where there is none."""
        return self._model(name, ServedGenerator, "generation")

    def classifier(self, name: str | None) -> tuple[ServedClassifier, Any]:
        """The classifier that a request names, or the first one; raises `ApiError` 404 where there is none."""
        return self._model(name, ServedClassifier, "classification")

    def captioner(self, name: str | None) -> tuple[ServedCaptioner, Any]:
        """The captioner that a request names, or the first one; raises `ApiError` 404 where there is none."""
        return self._model(name, ServedCaptioner, "captioning")

    def named(self, name: str) -> ServedGenerator | ServedClassifier | ServedCaptioner:
        """The model of a name, whatever its task; raises `ApiError` 404 where there is none."""
        for model in self.config.models:
            if model.name == name:
                return model
        raise _unknown(f"model {name[:80]!r} is not served", [model.name for model in self.config.models])

    @property
    def store(self) -> Store:
        """Of images that answers point to."""
        kept = self.config.kept_images
        place = kept.place or str(Path(tempfile.gettempdir()) / f"dermray-images-{getpass.getuser()}")
        return Store(place, kept.seconds, kept.max_bytes)

    def _model(self, name: str | None, kind: type[Any], task: str) -> tuple[Any, Any]:
        models = [model for model in self.config.models if isinstance(model, kind)]
        for model in models:
            if name in (None, model.name):
                return model, self.handles[model.name]
        if not models:
            raise ApiError(404, f"no model for {task} is served here", param="model", code="model_not_found")
        raise _unknown(f"model {name!r:.80} is not served for {task}", [model.name for model in models])


async def _base_of(handle: Any) -> Base:
    base: Base = (await handle.about.remote())["base"]
    return base


def _unknown(what: str, known: list[str]) -> ApiError:
    return ApiError(404, f"{what}; there are: {', '.join(known) or 'none'}", param="model", code="model_not_found")
