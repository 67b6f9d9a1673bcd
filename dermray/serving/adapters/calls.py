"""Calls of a model's replicas for one of its adapters: as `Calls`, to replicas that hold it where there are any."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from dermray.serving.adapters.catalogue import unusable
from dermray.serving.adapters.held import Unusable
from dermray.serving.adapters.place import AdapterPlace, both_licences
from dermray.serving.calls import Calls
from dermray.serving.errors import ApiError


class AdapterCalls:
    """What endpoints and jobs ask of a generator, asked of it with an adapter.

    Args:
        model: the served generator's name.
    """

    def __init__(self, calls: Calls, adapter: AdapterPlace, model: str) -> None:
        self._calls, self._adapter, self._model = calls, adapter, model
        self._holding = Calls(calls.handle.options(multiplexed_model_id=adapter.key))
        self.about, self.read, self.draw = _Method(self._about), calls.read, _Method(self._draw)

    async def _about(self) -> dict[str, Any]:
        """As the generator says, for the two of them; the adapter need not be loaded for it."""
        return of_both(await self._calls.about.remote(), self._adapter)

    async def _draw(self, drawing: Any) -> Any:
        try:
            return await self._holding.draw.remote(dataclasses.replace(drawing, adapter=self._adapter))
        except Unusable as error:
            raise self._told(error) from None

    async def stream(self, method: str, drawing: Any) -> AsyncIterator[Any]:
        """As `Calls.stream`."""
        try:
            async for answer in self._holding.stream(method, dataclasses.replace(drawing, adapter=self._adapter)):
                yield answer
        except Unusable as error:
            raise self._told(error) from None

    def _told(self, error: Unusable) -> ApiError:
        cause = getattr(error, "cause", error)  # Ray's own text has a traceback
        return unusable(self._model, self._adapter.name, str(cause))


class _Method:
    """As a handle's."""

    def __init__(self, call: Any) -> None:
        self.remote = call


def of_both(about: dict[str, Any], adapter: AdapterPlace) -> dict[str, Any]:
    """What a generator says of itself, with an adapter."""
    size = int((adapter.about or {}).get("config", {}).get("image_size", about["image_size"]))
    return about | {
        "version": f"{about['version']}+{adapter.version}", "licence": both_licences(about["licence"], adapter.licence),
        "image_size": size, "sizes": sorted({size, *about["sizes"]}),
    }  # fmt: skip
