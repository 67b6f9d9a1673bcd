"""Adapters in a replica: never more than allowed, none goes while it is drawn with, everyone comes to a turn."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dermray import weights
from dermray.serving.adapters.held import Held, HeldAdapters, Unusable
from dermray.serving.adapters.place import AdapterPlace
from dermray.serving.drawing.easel import Easel
from tests.serving.test_easel import Counting


class Rack:
    """Notes what hangs; of `broken` nothing can be read."""

    def __init__(self) -> None:
        self.hanging, self.most, self.hung = list[str](), 0, 0
        self.broken: set[str] = set()

    def read(self, data: bytes, name: str) -> str:
        if data.decode() in self.broken:
            raise ValueError(f"{name}: damaged")
        return data.decode()

    def hang(self, layers: str) -> str:
        self.hanging.append(layers)
        self.hung += 1
        self.most = max(self.most, len(self.hanging))
        return layers

    def take_away(self, slot: str) -> None:
        self.hanging.remove(slot)


def multiplexed(most: int) -> Callable[[Callable[[str], Awaitable[Any]]], Callable[[str], Awaitable[Any]]]:
    """As `ray.serve.multiplex._ModelMultiplexWrapper.load_model`, which works in replicas alone."""

    def decorated(load: Callable[[str], Awaitable[Any]]) -> Callable[[str], Awaitable[Any]]:
        models, lock = OrderedDict[str, Any](), asyncio.Lock()

        async def get(key: str) -> Any:
            if key in models:
                models.move_to_end(key)
                return models[key]
            async with lock:
                if key in models:
                    return models[key]
                if len(models) >= most:
                    _, oldest = models.popitem(last=False)
                    await oldest.__del__()
                models[key] = await load(key)
                return models[key]

        return get

    return decorated


@pytest.fixture
def places(tmp_path: Path) -> dict[str, AdapterPlace]:
    """Files that hold their names."""
    found = {}
    for name in ("a", "b", "c"):
        file = tmp_path / f"{name}.safetensors"
        file.write_text(name)
        version = weights.fingerprint(str(file))
        found[name] = AdapterPlace(name, str(file), version, version, "unknown")
    return found


def run(most: int, body: Callable[[HeldAdapters, Rack], Awaitable[None]]) -> Rack:
    rack: Any = Rack()
    easel = Easel(Counting(), 2)

    async def within() -> None:
        async with asyncio.timeout(30):
            await body(HeldAdapters(rack, easel, multiplexed(most)), rack)

    try:
        asyncio.run(within())
    finally:
        easel.close()
    return rack


@pytest.mark.parametrize("most", [1, 2])
def test_all_come_to_their_turns_and_none_goes_before_it_is_done(places: dict[str, AdapterPlace], most: int) -> None:
    source = random.Random(0)

    async def body(held: HeldAdapters, rack: Rack) -> None:
        async def visit(name: str) -> str:
            await asyncio.sleep(source.random() / 50)
            async with held.using(places[name]) as one:
                for _ in range(3):
                    assert one.slot in rack.hanging, "it went while it was drawn with"
                    await asyncio.sleep(source.random() / 100)
                return one.slot

        wanted = [source.choice("abc") for _ in range(60)]
        visits = [asyncio.create_task(visit(name)) for name in wanted]
        for task in visits[::7]:  # who hangs up, wherever it is
            await asyncio.sleep(0.002)
            task.cancel()
        done = await asyncio.gather(*visits, return_exceptions=True)
        for name, slot in zip(wanted, done, strict=True):
            assert slot == name or isinstance(slot, asyncio.CancelledError), slot
        assert sum(isinstance(slot, str) for slot in done) >= 50
        async with held.using(places["a"]):
            assert len(held.held) <= most

    rack = run(most, body)
    assert rack.most <= most and 3 <= rack.hung < 60


def test_an_idle_one_goes_before_one_that_is_drawn_with(places: dict[str, AdapterPlace]) -> None:
    async def body(held: HeldAdapters, rack: Rack) -> None:
        async with held.using(places["a"]):  # asked for first
            async with held.using(places["b"]):
                pass
            async with held.using(places["c"]):
                assert rack.hanging == ["a", "c"]

    run(2, body)


def test_where_all_are_in_use_the_next_one_waits_and_is_not_passed(places: dict[str, AdapterPlace]) -> None:
    async def body(held: HeldAdapters, rack: Rack) -> None:
        order: list[str] = []

        async def visit(name: str) -> None:
            async with held.using(places[name]):
                order.append(name)
                await asyncio.sleep(0.01)

        async with held.using(places["a"]):
            other = asyncio.create_task(visit("b"))
            await asyncio.sleep(0.05)
            again = asyncio.create_task(visit("a"))
            await asyncio.sleep(0.05)
            assert not order, "b waits for a, and a's next request for b"
        await asyncio.gather(other, again)
        assert order == ["b", "a"]

    run(1, body)


def test_one_that_cannot_be_read_is_said_and_tried_again(places: dict[str, AdapterPlace]) -> None:
    async def body(held: HeldAdapters, rack: Rack) -> None:
        rack.broken.add("b")
        with pytest.raises(Unusable, match=r"b\.safetensors: damaged"):
            async with held.using(places["b"]):
                pass
        async with held.using(places["a"]) as one:
            assert isinstance(one, Held) and rack.hanging == ["a"]
        rack.broken.clear()
        async with held.using(places["b"]):
            assert rack.hanging == ["a", "b"]
        Path(places["c"].file).write_text("other")
        with pytest.raises(Unusable, match="its file has changed since it was asked for"):
            async with held.using(places["c"]):
                pass

    run(2, body)


def test_a_file_that_is_gone_is_said(places: dict[str, AdapterPlace]) -> None:
    async def body(held: HeldAdapters, rack: Rack) -> None:
        Path(places["a"].file).unlink()
        with pytest.raises(Unusable, match=r"No such file"):
            async with held.using(places["a"]):
                pass

    run(1, body)
