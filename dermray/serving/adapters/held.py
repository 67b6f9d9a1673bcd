"""The adapters that a replica holds: read when a request names one, kept while images of it are drawn.

Serve's multiplexing keeps the ones used last, and sends requests where their adapter is. What it lets go here is let go
when its last image is drawn; the next one waits for that, and requests of the one that goes wait behind it: no adapter
is kept from its turn by others, and there are never more than config allows.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from dermray import node_cache, weights
from dermray.generators.adapter_rack import AdapterRack
from dermray.serving.adapters.place import AdapterPlace
from dermray.serving.drawing.easel import Easel
from dermray.serving.drawing.gate import Gate

Load = Callable[[str], Awaitable[Any]]


class Unusable(Exception):
    """An adapter that cannot be drawn with, and why."""


class Held:
    """An adapter in memory."""

    def __init__(self, adapter: AdapterPlace, slot: str, gate: Gate | None) -> None:
        self.adapter, self.slot, self.gate = adapter, slot, gate
        self.leaving = False  # whether it takes no more visits
        self.visits: set[_Visit] = set()  # drawings under way, or about to be
        self.idle = asyncio.Event()


class _Visit:
    """A drawing that needs an adapter, and the one that it has got."""

    held: Held | None = None

    def begin(self, held: Held) -> None:
        self.held = held
        held.visits.add(self)

    def end(self) -> None:
        if self.held:
            self.held.visits.discard(self)
            if not self.held.visits:
                self.held.idle.set()


class HeldAdapters:
    """Adapters of a replica's generator.

    Args:
        multiplexed: Serve's decorator with the number that may be held.
    """

    def __init__(self, rack: AdapterRack, easel: Easel, multiplexed: Callable[[Load], Load]) -> None:
        self.rack, self.easel = rack, easel
        self.held: dict[str, Held] = {}
        self._places: dict[str, AdapterPlace] = {}  # of those that are waited for, by their keys
        self._loads: dict[str, asyncio.Task[Held]] = {}
        self._waiting: defaultdict[str, set[_Visit]] = defaultdict(set)

        async def adapter_of_key(key: str) -> Held:
            return await self._loaded(self._places[key])

        self._of_key = multiplexed(adapter_of_key)

    @asynccontextmanager
    async def using(self, adapter: AdapterPlace) -> AsyncIterator[Held]:
        """It stays as long as this is entered.

        Raises:
            Unusable: it cannot be read, or does not fit this generator.
        """
        visit = _Visit()
        try:
            yield await self._ready(adapter, visit)
        finally:
            self._waiting[adapter.key].discard(visit)
            visit.end()

    async def _ready(self, adapter: AdapterPlace, visit: _Visit) -> Held:
        key = adapter.key
        if key in self.held:
            visit.begin(await self._of_key(key))  # at once; Serve notes that it was used
        else:
            for other in [one for one in self.held.values() if one.visits]:
                await self._of_key(other.adapter.key)  # it is in use: one that is idle shall go before it
            self._waiting[key].add(visit)
            await asyncio.shield(self._load_of(adapter))  # who hangs up leaves no half-read adapter behind
        assert visit.held is not None
        return visit.held

    def _load_of(self, adapter: AdapterPlace) -> "asyncio.Task[Held]":
        """One for all who wait for it."""
        key = adapter.key
        if key not in self._loads:
            self._places[key] = adapter
            self._loads[key] = load = asyncio.ensure_future(self._of_key(key))
            load.add_done_callback(lambda _: self._loaded_or_not(key))
        return self._loads[key]

    def _loaded_or_not(self, key: str) -> None:
        del self._places[key]
        load = self._loads.pop(key)
        if not load.cancelled():
            load.exception()  # known to who waits for it, if anybody does still

    async def _loaded(self, adapter: AdapterPlace) -> Held:
        try:
            layers, gate = await asyncio.to_thread(self._read, adapter)
            slot = await asyncio.wrap_future(self.easel.between_steps(lambda: self.rack.hang(layers)))
        except (ValueError, OSError) as error:
            raise Unusable(str(error)) from None
        held = self.held[adapter.key] = Held(adapter, slot, gate)
        for visit in self._waiting.pop(adapter.key, ()):  # now: else the next to be read could have it go before them
            visit.begin(held)

        async def leave() -> None:
            held.leaving = True
            self.held.pop(adapter.key, None)
            await asyncio.shield(asyncio.ensure_future(self._let_go(held)))  # also where nobody waits for it any more

        setattr(held, "__del__", leave)  # noqa: B010  # which Serve calls; Python itself asks the class
        return held

    async def _let_go(self, held: Held) -> None:
        while held.visits:
            held.idle.clear()
            await held.idle.wait()
        slot = held.slot
        await asyncio.wrap_future(self.easel.between_steps(lambda: self.rack.take_away(slot)))

    def _read(self, adapter: AdapterPlace) -> tuple[Any, Gate | None]:
        with node_cache.in_use(adapter.file) as file:
            data = file.read_bytes()
        layers = self.rack.read(data, adapter.file.rpartition("/")[2])
        if weights.fingerprint(adapter.file) != adapter.fingerprint:
            raise ValueError("its file has changed since it was asked for; ask again")
        return layers, Gate(adapter.gate) if adapter.gate else None
