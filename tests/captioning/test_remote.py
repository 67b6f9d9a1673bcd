"""A remote endpoint: a real `vllm serve` process with a nano captioner, and a small server of errors."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dermray.captioning import remote
from dermray.captioning.run import CaptionConfig, run
from dermray.captioning.settings import RemoteConfig
from dermray.config import validate
from dermray.datasets import ingest
from dermray.records import read_columns
from tests.conftest import free_port

KEY = "a-key"


class Unreliable(BaseHTTPRequestHandler):
    """Speaks the protocol, no more: refuses every first try, and images whose question says so for good."""

    tries: Counter[str] = Counter()

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == f"Bearer {KEY}"
        self.send(200 if allowed else 401, {"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.tries[body] += 1
        if self.tries[body] == 1:
            self.send(429, {"error": {"message": "slow down"}}, {"retry-after": "0"})
        elif int(json.loads(body)["messages"][0]["content"][0]["image_url"]["url"][-12:-4].encode().hex(), 16) % 5 == 0:
            self.send(400, {"error": {"message": "cannot look at this"}})
        else:
            message = {"role": "assistant", "content": "asymmetric lesion, red."}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            usage = {"prompt_tokens": 70, "completion_tokens": 6, "total_tokens": 76}
            self.send(200, {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
                            "usage": usage})  # fmt: skip

    def send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def unreliable() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Unreliable)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def test_what_an_endpoint_lacks_is_said_before_anything_starts(
    unreliable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = RemoteConfig(base_url=unreliable, model="m", max_retries=0)
    with pytest.raises(ValueError, match="OPENAI_API_KEY: not set"):
        remote.api_key(config)
    with pytest.raises(ValueError, match="401.*is OPENAI_API_KEY right"):
        remote.check(config, "wrong")
    with pytest.raises(ValueError, match="remote.model='other': not served at .*there are \\['m'\\]"):
        remote.check(config.model_copy(update={"model": "other"}), KEY)
    with pytest.raises(ConnectionError, match="no answer"):
        remote.check(config.model_copy(update={"base_url": f"http://127.0.0.1:{free_port()}/v1"}), KEY)
    remote.check(config, KEY)


def ingested(directory: Path, count: int) -> str:
    source = {"source": "phantom", "count": count, "size": 64, "seed": 11}
    return ingest.run(validate(ingest.IngestConfig, {"output": f"{directory}/ingest", "sources": [source]})).uri


@pytest.mark.slow
def test_retries_are_counted_and_refusals_fail_alone(
    local_ray: None, unreliable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    config = {
        "output": f"{tmp_path}/caption", "rows": ingested(tmp_path, 60),
        "remote": {"base_url": unreliable, "model": "m", "max_retries": 2, "price_in": 2.0, "price_out": 10.0,
                   "requests_per_minute": 60_000},
    }  # fmt: skip
    result = run(validate(CaptionConfig, config))
    rows = result.manifest.rows
    assert rows.rows_in == rows.ok + rows.failed and rows.ok > 20 and rows.failed > 2
    assert all("BadRequestError" in reason and "cannot look at this" in reason for reason in rows.reasons)
    told = result.manifest.metrics["captioning"]
    assert told["tokens_in"] == 70 * rows.ok and told["cost"] == pytest.approx(rows.ok * (70 * 2 + 6 * 10) / 1e6)
    table = read_columns(f"{result.data}/rows", ["status", "attempts", "captioner", "tokens_out"]).to_pylist()
    assert {row["attempts"] for row in table if row["status"] == "ok"} == {2}
    assert {row["captioner"] for row in table} == {"m"}
