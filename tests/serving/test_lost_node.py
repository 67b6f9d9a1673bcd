"""A node of the cluster that dies under load, with replicas of the models and of the ingress on it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.open_loop import Answered, closed_loop
from tests.conftest import end_family, free_port, kill_family
from tests.quickstart import wait_for
from tests.serving.conftest import Live
from tests.serving.test_steady import statuses, trying_once_more, under_load, until_ready

KEY = "test-key"


@contextmanager
def process(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    own = {"RAY_AUTH_MODE": "disabled", "DERMRAY_API_KEYS": KEY, "RAY_TMPDIR": str(log.parent)} | environment
    with log.open("wb") as said:
        started = subprocess.Popen(command, env=inherited | own, stdout=said, stderr=said, start_new_session=True)
    try:
        yield started
    finally:
        if started.poll() is None:
            end_family(started, patience=5)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_node_dies_under_load(served_models: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """kill -9 of a raylet and all that it started: a client that tries once more sees no error."""
    port, http, ray = free_port(), free_port(), str(Path(sys.executable).parent / "ray")
    logs = Path(os.environ["RAY_TMPDIR"])
    common = ["--num-cpus=4", "--object-store-memory=200000000", "--block"]
    spread = "replicas: 2, per_node: 1, cpus_per_replica: 0.5"
    models = ", ".join(
        f"{{task: {task}, name: {name}, model: {served_models}/{folder}, {spread}}}"
        for task, name, folder in (("generation", "pixel", "generator"), ("classification", "resnet", "classifier"))
    )
    serve = ["serve", "--port", str(http), f"models=[{models}]", "ingress.replicas=2", "ingress.per_node=1"]
    with ExitStack() as stack:
        head = [ray, "start", "--head", f"--port={port}", "--include-dashboard=false", *common]
        stack.enter_context(process(head, logs / "head.log"))
        wait_for(lambda: b"Ray runtime started" in (logs / "head.log").read_bytes(), 120)
        other = stack.enter_context(process([ray, "start", f"--address=127.0.0.1:{port}", *common], logs / "other.log"))
        wait_for(lambda: b"Ray runtime started" in (logs / "other.log").read_bytes(), 120)
        command = [sys.executable, "-m", "dermray.cli", *serve]
        service = stack.enter_context(process(command, logs / "serve.log", RAY_ADDRESS=f"127.0.0.1:{port}"))
        said = logs / "serve.log"
        wait_for(lambda: "Ctrl-C ends it" in said.read_text() or service.poll() is not None, 240)
        assert service.poll() is None, said.read_text()
        replicas = [p for p in psutil.Process(other.pid).children(True) if "ServeReplica" in " ".join(p.cmdline()[:1])]
        assert len(replicas) == 3, "one of each on this node"

        async def run(client: httpx.AsyncClient) -> list[Answered]:
            work = asyncio.create_task(closed_loop(trying_once_more(client), 4, 12))
            await asyncio.sleep(3)
            kill_family(other.pid)
            answers = await work
            await until_ready(client)
            return answers

        answers = under_load(Live(f"http://127.0.0.1:{http}", KEY), run)
        assert set(statuses(answers)) == {200} and len(answers) > 8, statuses(answers)
        service.send_signal(signal.SIGTERM)
        assert service.wait(90) == 0
