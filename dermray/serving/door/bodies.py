"""Bodies of requests, read with a bound on their bytes, their time, their number and what all of them hold at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Message, Receive

from dermray.serving.door.headers import too_large
from dermray.serving.errors import ApiError
from dermray.serving.settings import Limits

SLICE = 1 << 20  # bytes that the application is handed at a time


class ClientGone(Exception):
    """The client hung up before its body was there."""


class Bodies:
    """What is held of all bodies in one replica. A key can fill half of it, so that another's requests find room."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held: Counter[str] = Counter()  # bytes, by key
        self.arriving: Counter[str] = Counter()  # bodies that are not whole yet, by key

    @asynccontextmanager
    async def read(self, key: str, receive: Receive, most: int | None = None) -> AsyncIterator[bytearray]:
        """The whole body of at most so many bytes (the service's limit), held until the block ends.

        Raises:
            ApiError: 408, it took too long; 413, it is too large, whatever its headers said; 429, this key sends too
                many at once, or too much is held. ClientGone.
        """
        body = bytearray()  # one buffer: a list of one-byte chunks would take fifty times their size
        try:
            await self._fill(body, key, receive, most or self.limits.body_bytes)
            yield body
        finally:
            self._hold(key, -len(body))

    async def _fill(self, body: bytearray, key: str, receive: Receive, most_of_one: int) -> None:
        if self.arriving[key] >= self.limits.bodies_arriving:
            raise _busy(f"this key sends {self.limits.bodies_arriving} bodies already: finish one")
        self.arriving[key] += 1
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                more = True
                while more:
                    chunk, more = _chunk(await receive())
                    self._hold(key, len(chunk))
                    body += chunk
                    self._check(len(body), key, most_of_one)
        except TimeoutError:
            seconds = self.limits.body_seconds
            raise ApiError(408, f"body: expected all of it within {seconds:g} s", code="slow_body") from None
        finally:
            self._count(self.arriving, key, -1)

    def _check(self, size: int, key: str, most_of_one: int) -> None:
        if size > most_of_one:
            raise too_large(most_of_one)
        most = self.limits.bodies_bytes
        if self.held.total() > most or self.held[key] > max(most // 2, self.limits.body_bytes):
            raise _busy("too many bytes of requests are held: ask again in a second")

    def _hold(self, key: str, size: int) -> None:
        self._count(self.held, key, size)

    @staticmethod
    def _count(counter: Counter[str], key: str, number: int) -> None:
        counter[key] += number
        if not counter[key]:
            del counter[key]


def replay(body: bytearray, receive: Receive) -> Receive:
    """A `receive` that gives the body, in slices, and then what the client still has to say: that it hung up."""
    at, done = 0, False

    async def again() -> Message:
        nonlocal at, done
        if done:
            return await receive()
        piece = bytes(body[at : at + SLICE])
        at += len(piece)
        done = at >= len(body)
        return {"type": "http.request", "body": piece, "more_body": not done}

    return again


def without_body(receive: Receive) -> Receive:
    """A `receive` of a request without one, whatever the client sends."""
    return replay(bytearray(), receive)


def _chunk(message: Message) -> tuple[bytes, bool]:
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


def _busy(why: str) -> ApiError:
    return ApiError(429, why, code="overloaded", headers={"Retry-After": "1"})
