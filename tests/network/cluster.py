"""A Ray cluster on nodes with a network of their own, and S3 that all of them reach: what the tests of faults share."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest

from tests.conftest import s3_environment
from tests.network import hub
from tests.network.nodes import HEAD, Network, network, redis
from tests.quickstart import wait_for
from tests.raylets import ROOT

NODES = 4
DRIVER = 2  # not the head, which may be killed without it
# Of nodes 3 and 4. A worker, an engine or an actor of the stages takes three: no two share a node, and none is with the
# driver.
CPUS, DRIVERS_CPUS = 5, 2
S3_PORT, REDIS_PORT = 5000, 6379
BUCKET = "runs"


class Cluster:
    """Node 1 is the head, which takes no work; drivers run on node 2."""

    def __init__(self, nodes: Network, model: str, s3: dict[str, str], keeper: str | None) -> None:
        self.nodes, self.model, self.s3 = nodes, model, s3
        self.environment = s3 | ({"RAY_REDIS_ADDRESS": keeper} if keeper else {})

    def start(self, node: int) -> None:
        """Ray on a node."""
        cpus = {HEAD: 0, DRIVER: DRIVERS_CPUS}.get(node, CPUS)
        self.nodes.start_ray(node, self.environment if node == HEAD else self.s3, cpus)

    def begin(self, run: str, rows: int, seconds: float, *stages: str) -> "subprocess.Popen[bytes]":
        """Stages on the driver's node."""
        command = [sys.executable, "-m", "tests.network.stages", run, self.model, str(rows), str(seconds), *stages]
        return self.nodes.start(DRIVER, command, self.s3 | {"RAY_ADDRESS": self.nodes.gcs}, "driver.log")

    @property
    def said(self) -> str:
        """By drivers, all of them."""
        return self.nodes.log(DRIVER, "driver.log")

    def node_of(self, process: str) -> int:
        """Where a process with this name works, not beside the driver."""
        return next(node for node in range(DRIVER + 1, NODES + 1) if self._runs(node, process))

    def _runs(self, node: int, process: str) -> bool:
        pids = hub.ip("netns", "pids", hub.namespace(self.nodes.process.pid, node)).split()
        with contextlib.suppress(psutil.NoSuchProcess):
            return any(process in part for pid in pids for part in psutil.Process(int(pid)).cmdline())
        return False


@contextlib.contextmanager
def cluster(directory: Path, patch: pytest.MonkeyPatch, keeps_state: bool = False) -> Iterator[Cluster]:
    """Four nodes, near at first. This process reaches the same S3.

    Args:
        keeps_state: of the head, in a Redis server.
    """
    with network(directory, NODES) as nodes, contextlib.ExitStack() as services:
        host = nodes.address()
        services.enter_context(s3(host))
        for name, value in s3_environment(f"http://{host}:{S3_PORT}").items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        keeper = services.enter_context(redis(directory, host)) if keeps_state else None
        made = Cluster(nodes, str(directory / "model"), s3_environment(f"http://{host}:{S3_PORT}"), keeper)
        for node in range(1, NODES + 1):  # not at once: Ray gives a raylet 30 s, whatever else a machine does
            made.start(node)
        yield made


@contextlib.contextmanager
def s3(host: str) -> Iterator[None]:
    """An S3 server of its own at this address."""
    command = [sys.executable, "-m", "tests.s3_server", str(S3_PORT), host]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: _listens(host), 60)
            yield
        finally:
            server.kill()


def _listens(host: str) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex((host, S3_PORT)) == 0


def ids(result: Any) -> list[str]:
    """Of a result's rows, in order."""
    from dermray.records import read_columns

    return sorted(read_columns(f"{result.data}/rows", ["sample_id"])["sample_id"].to_pylist())
