"""A captioner's replica without Ray, with a stand-in for the engine: health, and work that is given up."""

import asyncio
from typing import Any

import pytest

from dermray.captioning.settings import Sampling
from dermray.records import sample_id
from dermray.serving.captions.work import Unanswered, Work
from dermray.serving.settings import Limits
from tests.serving.captions.stand_in import StandIn, captioning
from tests.serving.captions.test_captions import IMAGES, MODEL, host

__all__ = ["host"]


def test_health_fails_with_the_engine(host: StandIn) -> None:
    replica: Any = captioning(MODEL, host)
    replica.check_health()
    host.dead = True
    with pytest.raises(RuntimeError, match="has died"):
        replica.check_health()


def work(*images: bytes) -> Work:
    return Work(list(images), [{"sample_id": sample_id(i)} for i in images], "abc", Sampling(), Limits().image_pixels)


def test_who_hangs_up_is_asked_about_no_more(host: StandIn) -> None:
    async def given_up() -> None:
        host.hold = asyncio.Event()
        task = asyncio.create_task(replica.caption(work(*IMAGES)))
        while len(host.asked) < len(IMAGES):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

    replica: Any = captioning(MODEL, host)
    asyncio.run(given_up())
    assert host.aborted == len(IMAGES)


def test_what_fails_for_all_ends_the_others(host: StandIn) -> None:
    class Once(StandIn):
        async def answer(self, shown: bytes, question: str, manner: Any) -> Any:
            self.hold = None if not self.asked else asyncio.Event()
            return await super().answer(shown, question, manner)

    host = Once(lambda shown, question: Unanswered(502, "refused"))
    replica: Any = captioning(MODEL, host)

    async def asked() -> Any:
        found = await replica.caption(work(*IMAGES))
        await asyncio.sleep(0.01)
        return found

    assert asyncio.run(asked()) == Unanswered(502, "refused") and host.aborted == len(IMAGES) - 1
