"""A captioner on Serve as its users meet it: vLLM with the quickstart's nano captioner, and vLLM's own server as a
remote endpoint. The fast tests beside this one have a stand-in for the engine."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from ray import serve

from dermray import manifest
from dermray.captioning.compose import METADATA
from dermray.client import AsyncClient, Client, Patience, ServiceError
from dermray.config import validate
from dermray.records import read_columns
from dermray.serving.app import build
from dermray.serving.captions.answers import ImageCaption
from dermray.serving.captions.settings import ServedCaptioner
from dermray.serving.door import front
from dermray.serving.keys import KEYS_VARIABLE
from dermray.serving.runs import with_models_of_run
from dermray.serving.settings import ServiceConfig
from tests.conftest import free_port, ray_of_its_own
from tests.quickstart import SERVED_KEY, Quickstart, wait_for
from tests.serving.conftest import Live

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]  # the first test waits for the quickstart
ROWS = 128
COLUMNS = [name for name in ImageCaption.model_fields if name != "index"]


@pytest.fixture(scope="module")
def rows(quickstart: Quickstart) -> list[dict[str, Any]]:
    """Of the quickstart's caption stage, with their images."""
    written = manifest.read(f"{quickstart.directory}/caption")
    found = read_columns(f"{written.data}/rows", ["image", *COLUMNS, *METADATA, "captioner", "captioner_revision"])
    return found.slice(0, ROWS).to_pylist()


@pytest.fixture(scope="module")
def captioning(quickstart: Quickstart, vllm_server: str) -> Iterator[Live]:
    """The run's captioner as its caption stage asked it, and another behind vLLM's own server."""
    config = with_models_of_run(validate(ServiceConfig, {"run": str(quickstart.directory), "captioner": True}))
    own = [model for model in config.models if isinstance(model, ServedCaptioner)]
    remote = {"base_url": vllm_server, "model": "nano", "key_variable": "NANO_KEY"}
    far = {"task": "captioning", "name": "far", "remote": remote, "cpus_per_replica": 0.1}
    models = [model.model_dump(mode="json") for model in own]
    port, key = free_port(), secrets.token_urlsafe(8)
    environment = {KEYS_VARIABLE: key, front.VARIABLE: front.PATH, "NANO_KEY": SERVED_KEY}
    with ray_of_its_own(**environment):
        serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 120})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NANO_KEY", SERVED_KEY)
            application = build(validate(ServiceConfig, {"models": [*models, far]}))
        serve.run(application, name="dermray", route_prefix="/")
        yield Live(f"http://127.0.0.1:{port}", key)
        serve.shutdown()


def told(row: dict[str, Any]) -> dict[str, Any]:
    """What a client knows of an image."""
    return {name: row[name] for name in METADATA}


@pytest.mark.parametrize("model", ["own", "far"])
def test_equal_images_get_equal_rows_by_the_stage_and_over_http(
    model: str, captioning: Live, rows: list[dict[str, Any]]
) -> None:
    name, images = ("far" if model == "far" else None), [row["image"] for row in rows]
    with Client(captioning.url, captioning.key) as client:
        found = client.caption(*images, metadata=[told(row) for row in rows], model=name)
    pairs = list(zip(found.data, rows, strict=True))
    same = [(said, row) for said, row in pairs if said.answer == row["answer"]]
    # Other images were in vLLM's batches, and sums of floats depend on it: two tokens of nearly equal scores may swap.
    assert len(rows) == ROWS and len(same) >= 0.98 * ROWS and sum(row["status"] == "ok" for row in rows) > 100
    for said, row in same:
        assert said.model_dump(include=set(COLUMNS)) == {name: row[name] for name in COLUMNS}
    if model == "own":
        assert (found.captioner, found.captioner_revision) == (rows[0]["captioner"], rows[0]["captioner_revision"])


def test_guided_decoding_makes_json_of_the_schema(captioning: Live, rows: list[dict[str, Any]]) -> None:
    """Of a model that never saw any: what it says is nonsense, its form is not."""

    async def asked() -> Any:
        async with AsyncClient(captioning.url, captioning.key) as client:
            return await client.caption(rows[0]["image"], prompt_set="structured", max_tokens=380)

    [said] = asyncio.run(asked()).data
    # so far as the model's 512 tokens reach: the question takes most of them, and how many depends on its tokenizer
    assert said.answer.startswith('{"asymmetry": "')


def test_a_question_without_room_fails_as_in_the_stage(captioning: Live, rows: list[dict[str, Any]]) -> None:
    words = "xq" * 50
    with Client(captioning.url, captioning.key) as client:
        answer = client.caption(
            rows[0]["image"], prompt_set="clinical-qa", metadata={"site": words, "diagnosis": words}
        )
    [said] = answer.data
    assert said.status == "failed"
    assert said.reason == "engine: the question and its image do not fit into engine.max_model_len=512 tokens"


def engine() -> psutil.Process:
    """The newest of this Ray's."""
    found = [p for p in psutil.Process().children(recursive=True) if "ServeReplica:dermray:captioner" in p.name()]
    cores = [p for each in found for p in each.children() if "VLLM" in " ".join([p.name(), *p.cmdline()])]
    return max(cores, key=lambda process: process.create_time())


def seconds_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def test_who_hangs_up_is_written_for_no_more(captioning: Live, rows: list[dict[str, Any]]) -> None:
    files = [("image", row["image"]) for row in rows[:64]]
    form = {"prompt_set": "structured", "max_tokens": "380"}

    async def ask(patience: float) -> list[Any]:
        headers = {"Authorization": f"Bearer {captioning.key}"}
        async with httpx.AsyncClient(base_url=captioning.url, headers=headers, timeout=patience) as client:
            asks = (client.post("/v1/captions", files=files, data=form) for _ in range(8))
            return await asyncio.gather(*asks, return_exceptions=True)

    core = engine()
    before = seconds_of(core)
    assert [answer.status_code for answer in asyncio.run(ask(120))] == [200] * 8
    whole, before = seconds_of(core) - before, seconds_of(core)
    assert all(isinstance(answer, httpx.TimeoutException) for answer in asyncio.run(ask(0.3)))
    time.sleep(4)
    left = seconds_of(core) - before
    assert whole > 0.5 and left < whole / 2


def test_an_engine_that_dies_is_started_again(captioning: Live, rows: list[dict[str, Any]]) -> None:
    """Last of all: it takes the engine away from the other tests."""
    old = engine()
    os.kill(old.pid, signal.SIGKILL)
    impatient = Patience(tries=1)
    with Client(captioning.url, captioning.key, impatient) as client:
        with pytest.raises(ServiceError, match="engine") as raised:
            client.caption(rows[0]["image"])
        assert raised.value.status == 503
        wait_for(lambda: httpx.get(f"{captioning.url}/readyz").status_code == 200, 240)
        assert client.caption(rows[0]["image"]).data[0].status == "ok"
    assert engine().pid != old.pid
