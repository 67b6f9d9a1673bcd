"""A total, of pixels or bytes, of which everything at work takes its part: so that memory has a bound."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """`async with budget.take(width * height): ...` waits until so much is free, first come, first served.

    One event loop's. An amount above the total takes all of it, and so runs alone.
    """

    def __init__(self, total: int) -> None:
        assert total > 0
        self.total = self.free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def take(self, amount: int) -> AsyncIterator[None]:
        """Hold a part for as long as the block runs; who is cancelled, waiting or at work, holds nothing."""
        part = min(amount, self.total)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((part, turn))
        self._serve()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self.free += part
            else:
                self._waiting.remove((part, turn))
            self._serve()

    def _serve(self) -> None:
        # strictly in order: a large image is not overtaken for ever by small ones
        while self._waiting and (self._waiting[0][1].cancelled() or self._waiting[0][0] <= self.free):
            part, turn = self._waiting.popleft()
            if not turn.cancelled():
                self.free -= part
                turn.set_result(None)
