"""Which adapters of a model there are now. Directories are looked into again, so that new adapters need no restart."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable

from dermray import storage
from dermray.generators.adapters import LORA_FILE
from dermray.serving.adapters.base import Base, require_base
from dermray.serving.adapters.place import ABOUT, AdapterPlace, place_of_adapter
from dermray.serving.errors import ApiError
from dermray.serving.settings import NAME, ServedAdapter, ServedGenerator

FRESH = 2.0  # seconds between two looks
SUFFIX = ".safetensors"
logger = logging.getLogger("ray.serve")


class Catalogue:
    """The adapters of a served generator, as an ingress replica sees them.

    Args:
        base: what the generator draws with beside them; asked once.
    """

    def __init__(self, model: ServedGenerator, base: Callable[[], Awaitable[Base]]) -> None:
        self.model = model
        self._ask_base = base
        self._base: Base | None = None
        self._found: dict[str, AdapterPlace | str] = {}  # or why it cannot be used
        self._seen: dict[str, str] = {}  # what lay there when that was found
        self._looked, self._looking = float("-inf"), asyncio.Lock()

    async def usable(self) -> list[AdapterPlace]:
        """All that requests may name, by name."""
        found = await self._now()
        return [found[name] for name in sorted(found) if not isinstance(found[name], str)]  # type: ignore[misc]

    async def find(self, name: str) -> AdapterPlace:
        """The one of a name.

        Raises:
            ApiError: 404, naming those that there are; 409, it cannot be used, and why.
        """
        found = (await self._now()).get(name)
        if found is None:
            there = ", ".join(f"{self.model.name}:{adapter.name}" for adapter in await self.usable())
            raise ApiError(
                404, f"model '{self.model.name}:{name[:80]}' is not served for generation; adapters of "
                f"{self.model.name}: {there or 'none'}", param="model", code="model_not_found",
            )  # fmt: skip
        if isinstance(found, str):
            raise unusable(self.model.name, name, found)
        return found

    async def _now(self) -> dict[str, AdapterPlace | str]:
        async with self._looking:
            if time.monotonic() - self._looked > FRESH:
                base = self._base = self._base or await self._ask_base()
                try:
                    await asyncio.to_thread(self._look, base)
                except OSError as error:  # the store is out of reach: what was there before may well be there still
                    logger.error("adapters of %s: %s", self.model.name, error)
                self._looked = time.monotonic()
            return self._found

    def _look(self, base: Base) -> None:
        adapters = lying_in(self.model.adapters_from) if self.model.adapters_from else {}
        adapters |= self.model.adapters
        seen = {name: f"{adapter.place} {_state_of(adapter.place)}" for name, adapter in adapters.items()}
        found = {
            name: self._found[name] if self._seen.get(name) == seen[name] else self._opened(name, adapter, base)
            for name, adapter in adapters.items()
        }
        self._found, self._seen = found, seen

    def _opened(self, name: str, adapter: ServedAdapter, base: Base) -> AdapterPlace | str:
        try:
            if not re.fullmatch(NAME, name):
                raise ValueError(
                    f"{adapter.place}: a name that requests cannot give; up to 64 letters, digits, dots, underscores "
                    "and hyphens, a letter or digit first: rename it"
                )
            place = place_of_adapter(name, adapter)
            require_base(base, place)
        except (ValueError, OSError) as error:
            logger.error("adapter %s:%s cannot be used: %s", self.model.name, name, error)
            return _without_place(str(error), adapter.place)
        return place


def unusable(model: str, name: str, why: str) -> ApiError:
    """An adapter that is there and cannot be drawn with."""
    return ApiError(409, f"model '{model}:{name}' cannot be used: {why}", param="model", code="adapter_unusable")


def lying_in(directory: str) -> dict[str, ServedAdapter]:
    """Adapters by their names: directories, and files without their ending. Hidden ones are none."""
    uri = storage.normalise(directory)
    files = [file.rpartition("/")[2] for file in storage.list_files(uri, SUFFIX, below=False)]
    names = {file.removesuffix(SUFFIX): file for file in files} | {d: d for d in storage.list_directories(uri)}
    return {n: ServedAdapter(place=storage.join(uri, at)) for n, at in names.items() if not n.startswith(".")}


def _state_of(place: str) -> str:
    """Changes where the adapter does."""
    uri = storage.normalise(place)
    files = [uri] if uri.endswith(SUFFIX) else [storage.join(uri, name) for name in ("manifest.json", ABOUT, LORA_FILE)]
    return " ".join(storage.version(file) for file in files)


def _without_place(why: str, place: str) -> str:
    """For clients, whom it is no business where on this machine something lies."""
    for path in (place, storage.normalise(place)):
        why = why.replace(path, "its file")
    return why.removeprefix("its file: ")
