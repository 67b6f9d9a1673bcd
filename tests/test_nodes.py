"""Nodes that differ are told before work starts: two raylets with a disk and code of their own."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import end_family, free_port
from tests.quickstart import wait_for

ROOT = Path(__file__).parent.parent
DRIVER = """
import sys
from dermray.cluster import prepare_environment
prepare_environment()
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
from dermray import nodes
import time
while sum(n["Alive"] for n in ray.nodes()) < 2:
    time.sleep(0.2)
for check in (nodes.require_same_software, *(lambda place=p: nodes.require_shared(place) for p in sys.argv[2:])):
    try:
        check()
        print("ok")
    except (RuntimeError, ValueError) as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def two_nodes(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a head, and a directory on which the other node has a disk of its own. The other node's dermray is
    another version."""
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("mount namespaces are not allowed here")
    private, code = tmp_path / "private", tmp_path / "code"
    private.mkdir()
    shutil.copytree(ROOT / "dermray", code / "dermray")
    with (code / "dermray" / "records.py").open("a") as file:
        file.write("# another version\n")
    port, ray = free_port(), str(Path(sys.executable).parent / "ray")
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "PYTHONPATH")}
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    common = ["--num-cpus=2", "--object-store-memory=100000000", "--block"]
    head = [ray, "start", "--head", f"--port={port}", "--include-dashboard=false", *common]
    hidden = f"mount -t tmpfs none {private} && mount --bind {code}/dermray {ROOT}/dermray"
    other = f"{hidden} && exec {ray} start --address=127.0.0.1:{port} {' '.join(common)}"
    processes = [_start(head, environment)]
    wait_for(lambda: _listens(port) or processes[0].poll() is not None, 90)
    processes.append(_start(["unshare", "-m", "sh", "-c", other], environment))
    yield f"127.0.0.1:{port}", private
    for process in reversed(processes):
        end_family(process, patience=0)


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_nodes_with_other_code_or_another_disk_are_named(two_nodes: tuple[str, Path], tmp_path: Path) -> None:
    address, private = two_nodes
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DRIVER, address, str(tmp_path / "shared"), str(private / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    same, shared, own = done.stdout.strip().splitlines()
    assert same.startswith("RuntimeError node ") and "has dermray" in same and "Install the same dermray" in same
    assert shared == "ok"
    assert own.startswith(f"ValueError {private}/run: not seen by node(s)") and "s3:// URI" in own
