import asyncio

import pytest

from dermray.serving.classification.batching import Batcher


class Squares:
    """Squares numbers when it is told to go on; notes what came together."""

    def __init__(self) -> None:
        self.batches, self.go, self.cancelled = list[list[int]](), asyncio.Event(), 0

    async def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if 13 in items:
            raise ValueError("13")
        return [item**2 for item in items]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_lone_request_does_not_wait_and_later_ones_go_together() -> None:
    async def run() -> None:
        work = Squares()
        batcher = Batcher(work, most=4)
        tasks = [asyncio.create_task(batcher([number])) for number in range(7)]
        await turns()
        assert work.batches == [[0]], "the first does not wait for others"
        work.go.set()
        assert await asyncio.gather(*tasks) == [[number**2] for number in range(7)]
        assert work.batches == [[0], [1, 2, 3, 4], [5, 6]]

    asyncio.run(run())


def test_groups_stay_whole_and_in_order() -> None:
    async def run() -> None:
        work = Squares()
        batcher = Batcher(work, most=4, at_once=2)
        tasks = [asyncio.create_task(batcher(list(range(count)))) for count in (1, 9, 3, 2, 2)]
        await turns()
        assert work.batches == [[0], list(range(9))], "a larger group than fits goes alone"
        work.go.set()
        assert await asyncio.gather(*tasks) == [[i**2 for i in range(count)] for count in (1, 9, 3, 2, 2)]
        assert work.batches[2:] == [[0, 1, 2], [0, 1, 0, 1]]

    asyncio.run(run())


def test_who_hangs_up_costs_the_others_nothing() -> None:
    async def run() -> None:
        work = Squares()
        batcher = Batcher(work, most=4)
        first, gone, stays = (asyncio.create_task(batcher([number])) for number in (1, 2, 3))
        await turns()
        gone.cancel()
        first.cancel()
        await turns()
        assert work.cancelled == 1, "nobody waits for it any more"
        work.go.set()
        assert await stays == [9] and work.batches == [[1], [3]], "what waited is not begun"
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(run())


def test_one_of_a_batch_hangs_up_and_the_batch_goes_on() -> None:
    async def run() -> None:
        work = Squares()
        batcher = Batcher(work, most=4)
        first, gone, stays = (asyncio.create_task(batcher([number])) for number in (1, 2, 3))
        await turns()
        work.go.set()
        await first
        work.go.clear()
        await turns()
        gone.cancel()
        await turns()
        work.go.set()
        assert await stays == [9] and work.batches == [[1], [2, 3]] and work.cancelled == 0

    asyncio.run(run())


def test_a_fault_is_told_to_those_whom_it_met() -> None:
    async def run() -> None:
        work = Squares()
        work.go.set()
        batcher = Batcher(work, most=1)
        results = await asyncio.gather(*(batcher([number]) for number in (12, 13, 14)), return_exceptions=True)
        assert results[0] == [144] and results[2] == [196] and isinstance(results[1], ValueError)

    asyncio.run(run())
