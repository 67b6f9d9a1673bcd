"""Work of concurrent requests in one batch.

Ray's `serve.batch` waits for company: up to `batch_wait_timeout_s`, which a lone request pays, and it makes a task and
a future an image. Here nothing waits that could be at work: whenever the worker is free it takes all that came
meanwhile, so that batches are as large as the load is high.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass
class _Group(Generic[Item, Found]):
    """Items that came together, and their results."""

    items: Sequence[Item]
    results: "asyncio.Future[list[Found]]"


class Batcher(Generic[Item, Found]):
    """Calls `work` with the items of several groups, and gives each its own results."""

    def __init__(self, work: Callable[[list[Item]], Awaitable[list[Found]]], most: int, at_once: int = 1) -> None:
        """Args: work: one result for each item. most: items of a call, unless one group has more. at_once: calls."""
        self.work, self.most, self.at_once = work, most, at_once
        self.waiting = deque[_Group[Item, Found]]()
        self.running = set[asyncio.Task[None]]()

    async def __call__(self, items: Sequence[Item]) -> list[Found]:
        """Results of these items, in their order; raises what `work` raises. Cancelled before its turn, it costs
        nothing; cancelled with all others of its batch, the batch is cancelled."""
        group: _Group[Item, Found] = _Group(items, asyncio.get_running_loop().create_future())
        self.waiting.append(group)
        self._start()
        return await group.results

    def _start(self) -> None:
        while self.waiting and len(self.running) < self.at_once:
            batch = self._next()
            if batch:
                task = asyncio.ensure_future(self._run(batch))
                self.running.add(task)
                task.add_done_callback(self._ended)

    def _next(self) -> list[_Group[Item, Found]]:
        batch, count = list[_Group[Item, Found]](), 0
        while self.waiting and (not batch or count + len(self.waiting[0].items) <= self.most):
            group = self.waiting.popleft()
            if not group.results.done():  # its client has hung up
                batch.append(group)
                count += len(group.items)
        return batch

    async def _run(self, batch: list[_Group[Item, Found]]) -> None:
        task = asyncio.current_task()
        assert task is not None

        def hung_up(_: object) -> None:
            if all(group.results.cancelled() for group in batch):
                task.cancel()

        for group in batch:
            group.results.add_done_callback(hung_up)
        try:
            results = await self.work([item for group in batch for item in group.items])
        except asyncio.CancelledError:
            for group in batch:
                group.results.cancel()
            raise
        except Exception as error:
            for group in batch:
                if not group.results.done():
                    group.results.set_exception(error)
            return
        first = 0
        for group in batch:
            if not group.results.done():
                group.results.set_result(results[first : first + len(group.items)])
            first += len(group.items)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.running.discard(task)
        self._start()
