"""What stands in Serve's proxy, without Serve."""

import asyncio
from typing import Any

import pytest
from ray.serve._private.utils import call_function_from_import_path

from dermray.serving.door import front
from dermray.serving.door.front import Front

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_serves_own_headers_and_odd_ids_are_taken_away() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])

    kept = [(b"x-request-id", b"job-7"), (b"accept", b"\xff")]
    odd = [
        (b"X-Request-ID", b"\xff"), (b"serve_multiplexed_model_id", b"a"), (b"Serve-Multiplexed-Model-Id", b"a"),
        (b"x-session-id", b"a"), (b"x-request-timeout-seconds", b"1"), (b"x-request-disconnect-disabled", b"1"),
    ]  # fmt: skip
    await Front(app, 10)({"type": "http", "headers": [*odd, *kept]}, None, None)  # type: ignore[arg-type]
    assert seen == kept


async def test_no_more_is_read_than_replicas_accept() -> None:
    taken = 0

    async def endless() -> dict[str, Any]:
        nonlocal taken
        taken += 4
        return {"type": "http.request", "body": b"four", "more_body": True}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            await receive()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Front(app, 10)({"type": "http", "headers": []}, endless, None), 0.05)  # type: ignore[arg-type]
    assert taken == 12


async def test_bodies_together_have_a_bound_and_small_ones_never_wait() -> None:
    read, go, front_ = [0] * 9, asyncio.Event(), Front(app=None, most=6)  # type: ignore[arg-type]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        number = scope["number"]
        while await receive() and number != 8:
            read[number] += 1
            if read[number] == 3:
                await go.wait()
                return

    async def chunk() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"two", "more_body": True}

    front_.app = app
    large = [asyncio.create_task(front_({"type": "http", "number": i}, chunk, None)) for i in range(8)]  # type: ignore[arg-type]
    await asyncio.sleep(0.02)
    assert 48 <= front_.held <= 48 + 8 * 3 and not any(task.done() for task in large)
    await asyncio.wait_for(front_({"type": "http", "number": 8}, chunk, None), 1)  # type: ignore[arg-type]
    go.set()
    await asyncio.wait_for(asyncio.gather(*large), 1)
    assert read[:8] == [3] * 8 and front_.held == 0


def test_serve_finds_it_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(front.MOST_VARIABLE, "77")
    _, found = call_function_from_import_path(front.PATH)
    assert found.cls is Front and found.kwargs == {"most": 77}
