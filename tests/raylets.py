"""Two Ray nodes on one machine that share no disk: each raylet, and all it starts, with directories of its own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from dermray.runtime_env import SENT
from tests.conftest import end_family, free_port
from tests.quickstart import wait_for

ROOT = Path(__file__).parent.parent
OWN = ("home", "tmp", "cache", "here")


@contextmanager
def two_nodes(
    directory: Path, cpus: int, instead: Mapping[Path, Path], environment: Mapping[str, str]
) -> Iterator[str]:
    """The address of a head. The other node is in a mount namespace, where it sees other directories `instead` of some.

    Args:
        directory: gets what each node has for itself: head/home, other/cache and so on.
        environment: of both, added to this process's without what a driver is to send.
    """
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not allowed here: the other node would see the head's disk")
    port, ray = free_port(), str(Path(sys.executable).parent / "ray")
    common = [f"--num-cpus={cpus}", "--object-store-memory=200000000", "--block"]
    head = [ray, "start", "--head", f"--port={port}", "--include-dashboard=false", *common]
    other = [ray, "start", f"--address=127.0.0.1:{port}", *common]
    # Ray names the head's directory to all nodes: the other has one of its own under that name
    instead = {Path(os.environ["RAY_TMPDIR"]): directory / "other" / "ray"} | dict(instead)
    for shown in instead.values():
        shown.mkdir(parents=True, exist_ok=True)
    binds = "".join(f"mount --bind '{shown}' '{place}' && " for place, shown in instead.items())
    processes = [_start(head, directory / "head", environment)]
    try:
        wait_for(lambda: _listens(port) or processes[0].poll() is not None, 90)
        assert processes[0].poll() is None, (directory / "head" / "log").read_text()
        hiding = ["unshare", "-m", "sh", "-c", f'{binds}exec "$@"', "sh", *other]
        processes.append(_start(hiding, directory / "other", environment))
        log = directory / "other" / "log"
        wait_for(lambda: b"Ray runtime started" in log.read_bytes() or processes[1].poll() is not None, 90)
        assert processes[1].poll() is None, log.read_text()
        yield f"127.0.0.1:{port}"
    finally:
        for process in reversed(processes):
            if process.poll() is None:
                end_family(process, patience=0)


def own_environment(directory: Path) -> dict[str, str]:
    """Places of a node's, or a driver's, own; they are made."""
    for name in OWN:
        (directory / name).mkdir(parents=True, exist_ok=True)
    return {"HOME": f"{directory}/home", "TMPDIR": f"{directory}/tmp", "DERMRAY_CACHE": f"{directory}/cache"}


def _start(command: list[str], directory: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "PYTHONPATH", *SENT)}
    inherited |= {"RAY_AUTH_MODE": "disabled"} | own_environment(directory) | dict(environment)
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(
            command, cwd=directory / "here", env=inherited, stdout=log, stderr=log, start_new_session=True
        )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
