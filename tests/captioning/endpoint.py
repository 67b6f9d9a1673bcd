"""A small endpoint for tests, and the client asking it without Ray; light to import, because tests kill it."""

import asyncio
import contextlib
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa

from dermray.captioning import remote
from dermray.captioning.cache import AnswerCache
from dermray.captioning.engine import ANSWERED, Ask
from dermray.captioning.ledger import Ledger
from dermray.captioning.settings import RemoteConfig, Sampling

KEY, KEY_VARIABLE = "a-key", "ENDPOINT_KEY"
MODELS = {"object": "list", "data": [{"id": "m", "object": "model"}]}


def completion(content: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": 70, "completion_tokens": 6, "total_tokens": 76}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


class Endpoint(BaseHTTPRequestHandler):
    """Speaks the protocol, no more."""

    tries: Counter[str] = Counter()
    counting = threading.Lock()
    models: Any = MODELS

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == f"Bearer {KEY}"
        self.send(200 if allowed else 401, self.models if allowed else {"error": {"message": "Wrong key."}})

    def do_POST(self) -> None:
        self.reply(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def reply(self, body: str) -> None:
        """Answer a request for a chat completion."""
        raise NotImplementedError

    def count(self, what: str) -> int:
        with self.counting:
            self.tries[what] += 1
            return self.tries[what]

    def send(
        self, status: int, body: Any, headers: dict[str, str] | None = None, kind: str = "application/json"
    ) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # of 5, the default, a client with 32 connections would lose some


@contextlib.contextmanager
def serving(handler: type[Endpoint]) -> Iterator[str]:
    handler.tries.clear()
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def ask_all(
    address: str, questions: list[str], directory: Path | str, table: pa.Table | None = None, **settings: Any
) -> list[dict[str, Any]]:
    """What the client makes of these questions, or of a table, in one block and without Ray."""
    given = {"model": "m", "max_retries": 1, "timeout": 5.0, **settings}
    os.environ[KEY_VARIABLE] = KEY
    config = RemoteConfig(base_url=address, key_variable=KEY_VARIABLE, **given)
    ask = Ask("m", Sampling(), None, 64, Ledger(f"{directory}/ledger"), AnswerCache(f"{directory}/answers"))

    async def answers() -> list[dict[str, Any]]:
        client = remote.Client(ask, config)
        answered = [part async for part in client(block(questions) if table is None else table)]
        rows: list[dict[str, Any]] = answered[0].select([name for name, _ in ANSWERED]).to_pylist()
        return rows

    return asyncio.run(answers())


def block(questions: list[str]) -> pa.Table:
    n = len(questions)
    columns = [[f"id of {q}" for q in questions], [b"image"] * n, questions, pa.nulls(n, pa.string())]
    return pa.table(columns, ["sample_id", "shown", "question", "unreadable"])
