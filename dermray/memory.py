"""Peak memory of a run's processes, shared pages counted once: on this machine, or on all nodes of a joined cluster."""

import json
import os
import sys
import threading

import psutil

from dermray import nodes, storage
from dermray.bookkeeping import Notes

SECONDS_BETWEEN_READINGS = 10  # reading smaps of thirty processes costs a core a tenth of a second
SECONDS_ON_CLUSTERS = 60  # a task on every node
HERE = "the driver and all that it started"
RAYLET = "RAY_RAYLET_PID"  # which Ray sets for all that a raylet starts


class PeakMemory:
    """Watches while it is entered. The peak outlives interruptions in `<directory>/memory.json`."""

    def __init__(self, directory: str) -> None:
        self.path = storage.join(directory, "memory.json")
        known = json.loads(storage.read_bytes(self.path)) if storage.exists(self.path) else {}
        self.peak, self.measured = int(known.get("peak_bytes", 0)), str(known.get("measured", HERE))
        self._notes = Notes("the peak of memory")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = SECONDS_ON_CLUSTERS if os.environ.get("RAY_ADDRESS") else SECONDS_BETWEEN_READINGS
        while True:
            self._notes.now(self._read)
            if self._stop.wait(pause):
                return

    def _read(self) -> None:
        now, measured = cluster_bytes() if _joined() else (proportional_bytes(), HERE)
        if now > self.peak:
            self.peak, self.measured = now, measured
            storage.write_bytes(self.path, json.dumps({"peak_bytes": now, "measured": measured}).encode())


def _joined() -> bool:
    """Whether this process works on a cluster that it did not start."""
    return bool(os.environ.get("RAY_ADDRESS")) and "ray" in sys.modules and sys.modules["ray"].is_initialized()


def cluster_bytes() -> tuple[int, str]:
    """All that Ray has started on the nodes and this process's family; and what that is, in words."""
    busy = busy_nodes()
    answers = nodes.ask_all(workers_bytes, among=busy) if busy else {}
    known = [answer for answer in answers.values() if isinstance(answer, int)]
    own = 0 if RAYLET in os.environ else proportional_bytes()  # a submitted job is among what Ray has started
    measured = f"the driver, and what Ray started on {len(known)} of {len(answers)} busy nodes, for other jobs too"
    return own + sum(known), measured


def busy_nodes() -> set[str]:
    """Ids of nodes some of whose resources are in use. A task on another would keep an autoscaler from ending it."""
    from ray._private import state  # what the state API asks needs a dashboard

    free, all_of_them = state.available_resources_per_node(), state.total_resources_per_node()
    return {node for node, total in all_of_them.items() if free.get(node) != total}


def workers_bytes() -> int:
    """Proportional set size of all that this process's raylet has started. To be called in a Ray task.

    Workers cannot be told apart by job: Ray starts them before they have one, and uses them for several.
    """
    return sum(_bytes_of(process) for process in psutil.Process(int(os.environ[RAYLET])).children(recursive=True))


def proportional_bytes() -> int:
    """Proportional set size (each shared page divided among its users) of this process and its descendants."""
    me = psutil.Process()
    return sum(_bytes_of(process) for process in [me, *me.children(recursive=True)])


def _bytes_of(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.rss))  # Linux alone has it
    except psutil.AccessDenied:  # another user's
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
