"""`dermray serve` as a user types it: refused before anything is loaded, or served and ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import call_cli, end_family, free_port

KEY = "test-key"
ONCE = {"RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT": "1"}  # of three starts of a replica, the second tells nothing new


def models(folder: Path, **more: object) -> str:
    text = "".join(f", {name}: {value}" for name, value in more.items())
    return f"models=[{{task: classification, name: resnet, model: {folder}/classifier{text}}}]"


def test_where_nothing_is_named_the_quickstart_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, told = call_cli(capsys, "serve", "--port", str(free_port()))
    assert (
        code == 1 and told == "dermray: run=runs/quickstart: no such directory; give a finished run, or models=[...]\n"
    )


def test_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, told = call_cli(capsys, "serve", "--port", str(free_port()), models(Path("/nowhere")))
    assert code == 1 and "models.model=/nowhere/classifier: no such directory" in told and "Traceback" not in told


def test_a_taken_port(served_models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, told = call_cli(capsys, "serve", "--port", str(port), models(served_models))
    assert code == 1 and f"port {port} on 127.0.0.1: Address already in use; choose another with --port" in told
    code, _, told = call_cli(capsys, "serve", "--port", "70000", models(served_models))
    assert code == 1 and "port 70000: expected 1 to 65535" in told
    code, _, told = call_cli(capsys, "serve", "--host", "no.such.host.invalid", models(served_models))
    assert code == 1 and "no.such.host.invalid: " in told


def test_a_serve_config_file_is_another_thing(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(__file__).parents[2] / "serve_configs" / "dermray.yaml"
    code, _, told = call_cli(capsys, "serve", "--config", str(file))
    assert code == 2 and "`serve deploy` takes this file; give what stands below `args` in it" in told


@contextmanager
def serving(*arguments: str, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The command in a session of its own, and the file of what it says."""
    said = Path(os.environ["RAY_TMPDIR"]) / f"said-{time.time_ns()}"
    command = [sys.executable, "-m", "dermray.cli", "serve", *arguments]
    environment = os.environ | {"DERMRAY_API_KEYS": KEY} | variables
    with said.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
    try:
        yield process, said
    finally:
        if process.poll() is None:
            end_family(process, patience=5)


def wait_until_it_says(said: Path, text: str, process: subprocess.Popen[bytes], seconds: float = 180) -> None:
    ends = time.monotonic() + seconds
    while text not in said.read_text():
        assert process.poll() is None and time.monotonic() < ends, said.read_text()
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("by", [pytest.param(signal.SIGINT, marks=pytest.mark.soak), signal.SIGTERM])
def test_it_serves_until_it_is_ended(served_models: Path, by: signal.Signals) -> None:
    """Ctrl-C reaches all processes of a terminal, SIGTERM the command alone. None of them is left, nor a traceback."""
    port = free_port()
    with serving("--port", str(port), models(served_models)) as (process, said):
        wait_until_it_says(said, "Ctrl-C ends it", process)
        family = psutil.Process(process.pid).children(recursive=True)
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/models", headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        assert answer.status_code == 200 and answer.json()["data"][0]["id"] == "resnet"
        if by == signal.SIGINT:
            os.killpg(process.pid, by)
        else:
            process.send_signal(by)
        assert process.wait(90) == 0, said.read_text()
        _, alive = psutil.wait_procs(family, timeout=20)
        assert not alive
    text = said.read_text()
    assert f"serving on http://127.0.0.1:{port}" in text and "resnet" in text and text.endswith("ending the service\n")
    assert "no model for generation: /v1/images/generations answers 404" in text
    assert "Traceback" not in text and KEY not in text, "a key that was given is not printed"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_gpu_where_there_is_none_and_damaged_weights(served_models: Path, tmp_path: Path) -> None:
    """The first is found out before a model is loaded, the second by a replica; both are said in a line."""
    (tmp_path / "classifier").mkdir()
    for file in (served_models / "classifier").iterdir():
        cut = -100 if file.suffix == ".safetensors" else None
        (tmp_path / "classifier" / file.name).write_bytes(file.read_bytes()[:cut])
    without_gpu = serving("--port", str(free_port()), models(served_models, device="cuda", gpus_per_replica=1))
    damaged = serving("--port", str(free_port()), models(tmp_path), **ONCE)
    with without_gpu as (first, said), damaged as (second, replica_said):
        assert first.wait(240) == 1 and second.wait(240) == 1
    assert "GPUs: 1 asked for (resnet 1), 0 there; set device=cpu and gpus_per_replica=0" in said.read_text()
    assert "Traceback" not in said.read_text()
    assert "SafetensorError" in replica_said.read_text() and "Traceback" not in replica_said.read_text()
