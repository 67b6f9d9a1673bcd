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


def test_serve_finds_it_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(front.MOST_VARIABLE, "77")
    _, found = call_function_from_import_path(front.PATH)
    assert found.cls is Front and found.kwargs == {"most": 77}
