"""What the endpoints of a replica share: config, and a handle for each model."""

import getpass
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dermray.serving.door.admission import Admission
from dermray.serving.door.quotas import Quotas
from dermray.serving.drawing.store import Store
from dermray.serving.errors import ApiError
from dermray.serving.readiness import Readiness
from dermray.serving.settings import ServedClassifier, ServedGenerator, ServiceConfig


@dataclass(frozen=True)
class Service:
    """The models by name; handles are Serve's, whose methods are those of `Generation` and `Classification`."""

    config: ServiceConfig
    handles: dict[str, Any] = field(default_factory=dict)
    ways: dict[str, Any] = field(default_factory=dict)  # of classifiers: `classification.way.Way`, made when asked
    quotas: Quotas = field(default_factory=Quotas)

    @cached_property
    def admission(self) -> Admission:
        """Slots for work, of this ingress replica."""
        return Admission(self.config.limits.running, self.config.limits.queued)

    @cached_property
    def readiness(self) -> Readiness:
        """Which models answer."""
        return Readiness(self.handles)

    def generator(self, name: str | None) -> tuple[ServedGenerator, Any]:
        """The generator that a request names, or the first one; raises `ApiError` 404 where there is none."""
        return self._model(name, ServedGenerator, "generation")

    def classifier(self, name: str | None) -> tuple[ServedClassifier, Any]:
        """The classifier that a request names, or the first one; raises `ApiError` 404 where there is none."""
        return self._model(name, ServedClassifier, "classification")

    def named(self, name: str) -> ServedGenerator | ServedClassifier:
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
        what = "no model is named" if name is None else f"model {name[:80]!r} is not served"
        raise _unknown(f"{what} for {task}", [model.name for model in models])


def _unknown(what: str, known: list[str]) -> ApiError:
    return ApiError(404, f"{what}; there are: {', '.join(known) or 'none'}", param="model", code="model_not_found")
