"""What goes wrong in a round: each fault by its name, done to the nodes, the S3 server and the disk of one machine."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests import faulty_s3
from tests.captioning.chaos import victims
from tests.chaos import NOTICED_SOON, add_node, processes
from tests.faulty_s3 import FaultyS3

KILLS = ("worker", "engine", "driver", "raylet", "node")
OF_S3 = ("s3_500", "s3_503", "s3_slow", "s3_lost", "s3_cut_off", "s3_refused", "s3_stopped", "s3_full")
OF_DISK = ("disk_full",)
FAULTS = KILLS + OF_S3 + OF_DISK
NODES, CPUS = 1, 4  # beside the head, which is never killed; logical ones of each
WRITES = ("PutObject", "CopyObject", "POST")
SHARE, LATENCY = 0.3, 0.7  # of requests that fail; seconds that an answer takes longer


class Machine:
    """Two Ray nodes, an S3 server behind a proxy, and a disk of so many MiB that is mounted in memory.

    Args:
        disk: an empty directory, or None where nothing can be mounted.
    """

    def __init__(self, proxy: FaultyS3, server: "subprocess.Popen[bytes]", disk: Path | None, mebibytes: int) -> None:
        from dermray.cluster import prepare_environment

        prepare_environment()
        from ray.cluster_utils import Cluster

        self.proxy, self.server, self.disk = proxy, server, disk
        if disk is not None:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", str(disk)], check=True)
        head = {"num_cpus": CPUS, "object_store_memory": 200_000_000, "include_dashboard": False}
        self.cluster: Any = Cluster(initialize_head=True, head_node_args=head | {"_system_config": NOTICED_SOON})
        self.nodes = [add_node(self.cluster) for _ in range(NODES)]
        self._first_job()

    def _first_job(self) -> None:
        """A soak's first round once waited in `ray.init` until it was ended, with a worker's kill planned in it; the
        cause is not known. Ray has no limit of time there, and rounds are to test what comes after."""
        import ray

        self.cluster.connect()
        ray.shutdown()

    def close(self) -> None:
        """End the nodes and take the disk away."""
        self.cluster.shutdown()
        if self.disk is not None:
            subprocess.run(["umount", "--lazy", str(self.disk)], check=True)

    def possible(self, kind: str, engine: bool, in_s3: bool) -> bool:
        """Whether a stage can meet this fault, with or without an engine, over S3 or on the disk."""
        if kind in KILLS:
            return engine or kind != "engine"
        return in_s3 if kind in OF_S3 else self.disk is not None and not in_s3

    def break_(self, kind: str, driver: "subprocess.Popen[bytes]", seconds: float, dice: random.Random) -> str | None:
        """Do it, hold it for so long where it is something that lasts, and mend it.

        Returns:
            what was done, with what it met; None where there was nothing to kill.
        """
        if kind in KILLS:
            return self._kill(kind, driver, dice)
        if kind == "disk_full":
            return self._fill(seconds, driver)
        before = self.proxy.total, self.proxy.failed, self.proxy.unanswered
        self._disturb(kind, seconds)
        met = [after - old for after, old in zip((self.proxy.total, self.proxy.failed, self.proxy.unanswered), before,
                                                 strict=True)]  # fmt: skip
        return f"{seconds:.0f} s, {met[0]} requests, {met[1]} refused, {met[2]} without an answer"

    def _kill(self, kind: str, driver: "subprocess.Popen[bytes]", dice: random.Random) -> str | None:
        if kind == "driver":
            driver.kill()
            driver.wait()
            return "killed"
        if kind in ("raylet", "node"):
            node = self.nodes.pop(dice.randrange(len(self.nodes)))
            if kind == "raylet":  # its workers and agents notice by themselves
                node.all_processes["raylet"][0].process.kill()
                time.sleep(dice.uniform(1, 5))
            self.cluster.remove_node(node, allow_graceful=False)
            self.nodes.append(add_node(self.cluster))
            return "killed, another one started"
        found = victims("engine") if kind == "engine" else at_work()
        if not found:
            return None
        victim = dice.choice(found)
        try:
            name = " ".join(victim.cmdline())[:60]
            victim.kill()
        except psutil.Error:
            return None
        return f"{name} killed" if kind == "worker" else "killed"

    def _disturb(self, kind: str, seconds: float) -> None:
        proxy = self.proxy
        if kind == "s3_refused":
            proxy.closed(seconds)
        elif kind == "s3_stopped":
            self.server.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            self.server.send_signal(signal.SIGCONT)
        elif kind == "s3_cut_off":
            proxy.out(seconds)
            time.sleep(seconds)
        else:
            errors = {"s3_500": faulty_s3.INTERNAL_ERROR, "s3_503": faulty_s3.SLOW_DOWN}
            proxy.error = errors.get(kind, faulty_s3.SLOW_DOWN)
            proxy.share_of_errors = SHARE if kind in errors else 0.0
            proxy.share_lost = SHARE if kind == "s3_lost" else 0.0
            proxy.latency = LATENCY if kind == "s3_slow" else 0.0
            proxy.refuses = self._full if kind == "s3_full" else lambda kind, key: None
            time.sleep(seconds)
            proxy.share_of_errors = proxy.share_lost = proxy.latency = 0.0
            proxy.refuses = lambda kind, key: None

    def _full(self, kind: str, key: str) -> faulty_s3.Refusal | None:
        """Nothing can be written, all can be read."""
        if kind not in WRITES:
            return None
        self.proxy.failed += 1
        return faulty_s3.FULL

    def _fill(self, seconds: float, driver: "subprocess.Popen[bytes]") -> str:
        """Until the driver ends or the seconds are over: what others free meanwhile is taken too."""
        assert self.disk is not None
        filler, end, taken = self.disk / "filler", time.monotonic() + seconds, 0
        with filler.open("wb", buffering=0) as file:
            while time.monotonic() < end and driver.poll() is None:
                taken += _take(file.fileno())
                time.sleep(0.1)
        filler.unlink()
        return f"{seconds:.0f} s, {taken / 2**20:.1f} MiB taken"


def _take(file: int) -> int:
    """All that is left on a disk: bytes."""
    taken = 0
    for size in (1 << 20, 1 << 12, 1):
        while True:
            try:
                taken += os.write(file, bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                break
    return taken


def at_work() -> list[psutil.Process]:
    """Ray's workers in a task or an actor, as Ray names them."""
    resting = {process.pid for name in ("IDLE", "Agent") for process in processes(name)}
    return [process for process in processes("ray::") if process.pid not in resting]


def mountable(directory: Path) -> bool:
    """Whether a disk in memory can be mounted here, which takes root."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return False
    subprocess.run(["umount", str(directory)], check=True)
    return True


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Until it holds, at most so long; whether it does."""
    end = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return holds


def server_process(port: int) -> "subprocess.Popen[bytes]":
    """The S3 server of the tests, in a process that may be stopped."""
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-m", "tests.s3_server", str(port)]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def answers(url: str) -> bool:
    """Whether a server is up."""
    import httpx

    try:
        return httpx.get(url, timeout=5).status_code < 500
    except httpx.HTTPError:
        return False
