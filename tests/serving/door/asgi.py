"""Requests as ASGI messages, so that a test says when each byte comes."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message

KEY = "k" * 32
JSON = (("content-type", "application/json"),)
AUTHORISED = (("authorization", f"Bearer {KEY}"), *JSON)
IMAGES = "/v1/images/generations"


@dataclass
class Answer:
    """What came back, and how much of the body was asked for."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    received: int = 0

    @property
    def error(self) -> dict[str, Any]:
        """In the one form that errors have, with this answer's request id."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code", "request_id"}
        assert error["request_id"] == self.headers["x-request-id"] and error["message"]
        return error


async def ask(
    app: ASGIApp,
    path: str = IMAGES,
    method: str = "POST",
    headers: Iterable[tuple[str, str | bytes]] = AUTHORISED,
    body: Iterable[bytes | None] = (b"{}",),
    client: str = "127.0.0.1",
    query: bytes = b"",
) -> Answer:
    """One request. A None in the body is a client that sends no more; after the body it waits, and does not hang up."""
    answer, chunks = Answer(), list(body)

    async def receive() -> Message:
        if answer.received < len(chunks):
            chunk = chunks[answer.received]
            answer.received += 1
            if chunk is not None:
                return {"type": "http.request", "body": chunk, "more_body": answer.received < len(chunks)}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        answer.body += message.get("body", b"")

    headers = list(headers)
    if body and "content-length" not in [name for name, _ in headers]:
        headers.append(("transfer-encoding", "chunked"))
    pairs = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": query, "headers": pairs,
        "client": (client, 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    return answer
