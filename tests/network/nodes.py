"""Ray nodes that are network namespaces of this machine, with the network between them in a test's hands."""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from dermray.runtime_env import SENT
from tests.chaos import STARTS
from tests.network import hub
from tests.quickstart import wait_for
from tests.raylets import ROOT, own_environment

HEAD = 1
GCS_PORT = 6379  # each namespace has all ports for itself
FIRST = "while true; do sleep 1000 & wait; done"  # waits for what others leave; all end with it


class Network:
    """Nodes 1, 2, ... with a directory each, and the cable between them."""

    def __init__(self, directory: Path, process: "subprocess.Popen[str]", nodes: int) -> None:
        self.directory, self.process = directory, process
        self.first: dict[int, int] = {}  # process of each node
        for node in range(1, nodes + 1):
            self.boot(node)

    def address(self, node: int = 0) -> str:
        """IPv4. Node 0 is this machine: services here are reached by all."""
        return hub.address(self.process.pid, node)

    def set(self, what: str, value: object) -> None:
        """`latency` in seconds a packet, `loss` as a share of packets, `cut` or `restore` of a node."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{what} {value}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def boot(self, node: int) -> None:
        """Switch a node on. Name and processes are its own, the disk is this machine's, but for Ray's directory."""
        own = self.directory / f"node{node}"
        (own / "ray").mkdir(parents=True, exist_ok=True)
        hosts = own / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{self.address(node)} node{node}\n")
        binds = f"mount --bind '{own}/ray' '{os.environ['RAY_TMPDIR']}' && mount --bind '{hosts}' /etc/hosts"
        # with processes of its own, or a driver here would join the head's raylet, which it would find among them
        enter = ["ip", "netns", "exec", hub.namespace(self.process.pid, node), "unshare", "--uts", "--pid", "--fork"]
        enter += ["--mount-proc", "sh", "-c", f"hostname node{node} && {binds} && echo up && {FIRST}"]
        first = subprocess.Popen(enter, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
        assert first.stdout and first.stdout.readline() == b"up\n"
        [self.first[node]] = [child.pid for child in psutil.Process(first.pid).children()]

    def start(
        self, node: int, command: list[str], environment: Mapping[str, str], log: str
    ) -> "subprocess.Popen[bytes]":
        """A process on a node."""
        own = self.directory / f"node{node}"
        given = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", *SENT)}
        given |= {"RAY_AUTH_MODE": "disabled", "GLOO_SOCKET_IFNAME": "eth0", "PYTHONPATH": str(ROOT)}
        given |= {"RAY_worker_niceness": "0"}  # on a busy machine workers that yield to all others never come to work
        given |= own_environment(own) | dict(environment)
        enter = [
            "nsenter",
            f"--target={self.first[node]}",
            "--mount",
            "--uts",
            "--net",
            "--pid",
            "env",
            f"--chdir={ROOT}",
        ]
        with (own / log).open("ab") as file:
            return subprocess.Popen([*enter, *command], env=given, stdout=file, stderr=file, start_new_session=True)

    def log(self, node: int, name: str) -> str:
        """What a process of a node has printed."""
        return (self.directory / f"node{node}" / name).read_text(errors="replace")

    def kill(self, node: int) -> None:
        """Pull the plug: every process of a node at once."""
        hub.kill_all(hub.namespace(self.process.pid, node))
        del self.first[node]

    @property
    def gcs(self) -> str:
        """What drivers on nodes have as RAY_ADDRESS."""
        return f"{self.address(HEAD)}:{GCS_PORT}"

    def start_ray(self, node: int, environment: Mapping[str, str], cpus: int) -> None:
        """A raylet that has joined; node 1 is the head."""
        head = ["--head", f"--port={GCS_PORT}", "--include-dashboard=false"]
        command = [str(Path(sys.executable).parent / "ray"), "start", f"--node-ip-address={self.address(node)}"]
        command += head if node == HEAD else [f"--address={self.gcs}"]
        command += [f"--num-cpus={cpus}", "--object-store-memory=150000000", "--block"]
        for _ in range(STARTS):
            if node not in self.first:
                self.boot(node)
            (self.directory / f"node{node}" / "ray.log").unlink(missing_ok=True)
            process = self.start(node, command, environment, "ray.log")
            if self._started(node, process):
                return
            self.kill(node)
        raise AssertionError(self.log(node, "ray.log"))

    def _started(self, node: int, ray: "subprocess.Popen[bytes]") -> bool:
        wait_for(lambda: "Ray runtime started" in self.log(node, "ray.log") or ray.poll() is not None, 120)
        return ray.poll() is None


@contextlib.contextmanager
def network(directory: Path, nodes: int, seed: int = 0) -> Iterator[Network]:
    """So many nodes, all of them near at first.

    Skips where the system does not allow it.
    """
    if missing := what_is_missing():
        pytest.skip(f"nodes with a network of their own need {missing}")
    command = [sys.executable, "-m", "tests.network.hub", str(nodes), str(seed)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdin and process.stdout
        try:
            assert process.stdout.readline() == "ready\n", "the hub did not start"
            yield Network(directory, process, nodes)
        finally:
            process.stdin.close()
            process.wait(60)


@functools.cache
def what_is_missing() -> str | None:
    """Of what namespaces and their devices need."""
    if os.geteuid():
        return "root"
    if not shutil.which("ip"):
        return "iproute2"
    attempt = [
        "unshare",
        "--net",
        "--pid",
        "--fork",
        "--mount-proc",
        "ip",
        "tuntap",
        "add",
        "dev",
        "try",
        "mode",
        "tun",
    ]
    allowed = subprocess.run(attempt, capture_output=True, check=False).returncode == 0
    return None if allowed else "the right to make namespaces and TUN devices"


@contextlib.contextmanager
def redis(directory: Path, host: str) -> Iterator[str]:
    """The address of a Redis server that keeps nothing on disk."""
    if not (server := shutil.which("redis-server")):
        pytest.skip("Redis is not installed: redis-server is what GCS's state outlives its process in")
    port = 6379
    command = [server, "--bind", host, "--port", str(port), "--save", "", "--protected-mode", "no"]
    with (directory / "redis.log").open("w") as log:
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
    try:
        wait_for(lambda: "Ready to accept connections" in (directory / "redis.log").read_text(), 30)
        yield f"{host}:{port}"
    finally:
        process.kill()
        process.wait()
