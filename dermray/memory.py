"""Peak memory of this process and all that it started, shared pages counted once."""

import json
import threading

import psutil

from dermray import storage

SECONDS_BETWEEN_READINGS = 10  # reading smaps of thirty processes costs a core a tenth of a second


class PeakMemory:
    """Watches while it is entered. The peak outlives interruptions in `<directory>/memory.json`."""

    def __init__(self, directory: str) -> None:
        self.path = storage.join(directory, "memory.json")
        self.peak = int(json.loads(storage.read_bytes(self.path))["peak_bytes"]) if storage.exists(self.path) else 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            now = proportional_bytes()
            if now > self.peak:
                self.peak = now
                storage.write_bytes(self.path, json.dumps({"peak_bytes": now}).encode())
            if self._stop.wait(SECONDS_BETWEEN_READINGS):
                return


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
