"""Requests that come when they come, whether or not those before are answered: as many clients make them."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

Send = Callable[[int], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Answered:
    """How one request ended."""

    status: int  # 0 where the connection broke
    seconds: float
    told_when: bool  # whether there was a Retry-After


async def open_loop(send: Send, rate: float, seconds: float, seed: int = 0) -> list[Answered]:
    """Poisson arrivals of `rate` requests a second; waits for all answers."""
    drawn, under_way, number = random.Random(seed), [], 0
    begun = time.monotonic()
    due = drawn.expovariate(rate)
    while due < seconds:
        await asyncio.sleep(max(0, begun + due - time.monotonic()))
        under_way.append(asyncio.create_task(_answered(send, number)))
        number, due = number + 1, due + drawn.expovariate(rate)
    return list(await asyncio.gather(*under_way))


async def closed_loop(send: Send, clients: int, seconds: float) -> list[Answered]:
    """So many clients, each of which sends its next request when it has its answer."""
    ends, answers = time.monotonic() + seconds, []

    async def client(own: int) -> None:
        number = own
        while time.monotonic() < ends:
            answers.append(await _answered(send, number))
            number += clients

    await asyncio.gather(*(client(own) for own in range(clients)))
    return answers


async def _answered(send: Send, number: int) -> Answered:
    began = time.monotonic()
    try:
        answer = await send(number)
    except httpx.TransportError:
        return Answered(0, time.monotonic() - began, False)
    return Answered(answer.status_code, time.monotonic() - began, "Retry-After" in answer.headers)


def percentile(answers: list[Answered], share: float) -> float:
    """Seconds within which so many of the answers with status 200 were there; NaN of none."""
    good = sorted(answer.seconds for answer in answers if answer.status == 200)
    return good[min(len(good) - 1, int(share * len(good)))] if good else float("nan")
