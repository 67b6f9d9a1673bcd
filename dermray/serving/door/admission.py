"""How many requests are at work, and which of those that wait comes next."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dermray.serving.errors import ApiError

LONGEST_WAIT = 60  # seconds that a client is told to stay away, at most
Turn = asyncio.Future[None]


class Admission:
    """`async with admission.slot(key): ...`, after the body is there and before work starts.

    `running` requests are at work, `queued` wait; the rest is told 429 and when to come back. Keys take turns, so
    that a key that sends a thousand requests waits for its own and not others for it. Of one event loop: each ingress
    replica has its own.
    """

    def __init__(self, running: int, queued: int) -> None:
        self.running, self.queued = running, queued
        self.at_work = 0
        self._waiting: dict[str, deque[Turn]] = {}  # in the order of turns
        self._seconds = 1.0  # that a request takes, a moving mean

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return sum(len(turns) for turns in self._waiting.values())

    @asynccontextmanager
    async def slot(self, key: str) -> AsyncIterator[None]:
        """Wait for a slot and hold it; raises `ApiError` 429 where too many wait."""
        await self._enter(key)
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds += 0.1 * (time.monotonic() - began - self._seconds)
            self._leave()

    async def _enter(self, key: str) -> None:
        if self.at_work < self.running:  # nobody waits then: who leaves hands the slot on
            self.at_work += 1
            return
        if self.waiting >= self.queued:
            self._make_room(key)
        turn: Turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave()  # the slot came in the same moment in which the client went
            else:
                self._forget(key, turn)
            raise

    def _make_room(self, key: str) -> None:
        """The newest of the key with most in the queue gives way to a key with at least two fewer; else 429."""
        longest = max(self._waiting, key=lambda other: len(self._waiting[other]), default=key)
        most = len(self._waiting.get(longest, ()))
        if longest == key or most < len(self._waiting.get(key, ())) + 2:
            raise self._full()
        turn = self._waiting[longest][-1]
        self._forget(longest, turn)
        turn.set_exception(self._full())

    def _leave(self) -> None:
        while self._waiting:
            key = next(iter(self._waiting))
            turns = self._waiting.pop(key)
            turn = turns.popleft()
            if turns:
                self._waiting[key] = turns  # behind the others
            if not turn.done():
                turn.set_result(None)  # the slot goes over, and at_work stays
                return
        self.at_work -= 1

    def _forget(self, key: str, turn: Turn) -> None:
        turns = self._waiting.get(key)
        if turns and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[key]

    def _full(self) -> ApiError:
        after = math.ceil(self._seconds * (self.waiting + 1) / self.running)
        after = min(max(after, 1), LONGEST_WAIT)
        message = f"the service has as much work as it takes: ask again in {after} s"
        return ApiError(429, message, code="overloaded", headers={"Retry-After": str(after)})
