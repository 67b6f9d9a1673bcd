"""Several stages at a time, each in a process of its own, on one Ray.

Not threads: a stage sets what a whole process shares, such as Ray Data's checkpoint, random generators and the way in
which Ctrl-C is taken. One Ray, because two would each believe that the machine's GPUs are theirs; it starts work as far
as it has room.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dermray import cluster, manifest
from dermray.manifest import Result
from dermray.pipeline.graph import Instance
from dermray.pipeline.told import Told

CHILD = "dermray.pipeline.child"


class Processes:
    """Entered before stages are started. Left by an exception, it ends those at work; otherwise it waits for them."""

    def __init__(self, at_a_time: int) -> None:
        self.at_a_time = at_a_time
        self.environment = dict(os.environ)
        self._waiters = ThreadPoolExecutor(at_a_time)  # each waits for one process
        self._running = set[subprocess.Popen[str]]()
        self._lock = threading.Lock()

    def __enter__(self) -> "Processes":
        ray = cluster.connect(side_by_side=self.at_a_time)
        if not os.environ.get("RAY_ADDRESS"):
            # a local Ray is quiet, see cluster.LOGS; to the processes it is one that they join
            self.environment |= {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
            self.environment.setdefault(cluster.LOGS, "0")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with self._lock:
                for process in self._running:
                    process.terminate()
        self._waiters.shutdown()

    def start(self, instance: Instance, told: Told) -> Future[Result]:
        """Its result, or a RuntimeError with the last of what it said.

        Args:
            told: prints when it begins and ends.
        """
        return self._waiters.submit(self._run, instance, told, told.begins(instance))

    def _run(self, instance: Instance, told: Told, began: float) -> Result:
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory) / "result"
            given = {"name": instance.name, "stage": instance.stage, "section": instance.section}
            code, last = self._watched(instance.name, [str(os.getpid()), str(place)], json.dumps(given))
            if code or not place.exists():
                raise RuntimeError(f"{instance.name}: {last or f'ended with exit code {code}'}")
            result = manifest.read(place.read_text())
        told.ended(instance, result, began)
        return result

    def _watched(self, name: str, arguments: list[str], given: str) -> tuple[int, str]:
        """Its exit code, and the last that it said as `dermray: ...`."""
        process = subprocess.Popen(
            [sys.executable, "-m", CHILD, *arguments], env=self.environment, text=True, errors="replace",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        with self._lock:
            self._running.add(process)
        assert process.stdin is not None and process.stdout is not None
        last = ""
        with process:
            process.stdin.write(given)
            process.stdin.close()
            for line in process.stdout:
                print(f"{name} | {line}", end="", flush=True)
                last = line.partition("dermray: ")[2].strip() or last
        with self._lock:
            self._running.discard(process)
        return process.returncode, last
