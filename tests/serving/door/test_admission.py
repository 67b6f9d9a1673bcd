"""Slots and turns."""

import asyncio

import pytest

from dermray.serving.door.admission import Admission
from dermray.serving.errors import ApiError

pytestmark = pytest.mark.anyio


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Requests of keys that work until they are told to end."""

    def __init__(self, admission: Admission) -> None:
        self.admission, self.order = admission, list[str]()
        self.ends: dict[str, asyncio.Event] = {}

    async def come(self, name: str) -> asyncio.Task[None]:
        self.ends[name] = asyncio.Event()

        async def work() -> None:
            async with self.admission.slot(name[0]):
                self.order.append(name)
                await self.ends[name].wait()

        task = asyncio.create_task(work())
        await settle()
        return task


async def test_keys_take_turns() -> None:
    crowd = Crowd(Admission(running=1, queued=10))
    tasks = [await crowd.come(name) for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1")]
    for _ in tasks:
        crowd.ends[crowd.order[-1]].set()
        await settle()
    assert crowd.order == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]
    assert (crowd.admission.at_work, crowd.admission.waiting) == (0, 0)
    await asyncio.gather(*tasks)


async def test_a_full_queue_refuses_who_fills_it_and_makes_room_for_others() -> None:
    crowd = Crowd(Admission(running=1, queued=3))
    tasks = [await crowd.come(f"a{i}") for i in range(4)]
    refused = await crowd.come("a9")
    assert isinstance(refused.exception(), ApiError)
    assert int(refused.exception().headers["Retry-After"]) >= 1  # type: ignore[union-attr]
    other = await crowd.come("b1")
    assert not other.done() and isinstance(tasks[3].exception(), ApiError), "the newest of the longest queue gives way"
    second = await crowd.come("b2")
    assert isinstance(second.exception(), ApiError), "two of a wait and one of b: b has its share"
    for name in ("a0", "a1", "b1", "a2"):
        crowd.ends[name].set()
        await settle()
    assert crowd.order == ["a0", "a1", "b1", "a2"] and crowd.admission.at_work == 0


async def test_who_is_cancelled_gives_back_what_it_holds() -> None:
    crowd = Crowd(Admission(running=1, queued=3))
    tasks = [await crowd.come(name) for name in ("a1", "a2", "b1")]
    tasks[1].cancel()
    await settle()
    assert crowd.admission.waiting == 1
    tasks[0].cancel()
    await settle()
    assert crowd.order == ["a1", "b1"]
    tasks.append(await crowd.come("c1"))
    crowd.ends["b1"].set()
    await asyncio.sleep(0)
    tasks[3].cancel()  # in the moment in which the slot comes
    await settle()
    assert (crowd.admission.at_work, crowd.admission.waiting) == (0, 0)
