"""Notes that a job makes beside its work: curves, progress, who began what. None of them is worth the work itself.

What numbers or a resume depend on is not written this way.
"""

import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

ROOM = 1000  # notes that may wait
PATIENCE = 10.0  # seconds for a flush
COUNTING = threading.Lock()  # notes are lost in several threads; one for all, so that `Notes` can be pickled


class Notes:
    """Notes of one kind. What cannot be written is counted and told of once; nothing is ever raised.

    Each kind has a thread of its own, so that a tracking server that hangs holds up no other. An object that has not
    yet been used for `later` can be pickled.
    """

    def __init__(self, kind: str, room: int = ROOM) -> None:
        self.kind, self.room = kind, room
        self.failed = 0
        self.failing = False  # the last one could not be written
        self._waiting: queue.Queue[tuple[Callable[..., Any], tuple[Any, ...]]] | None = None

    def now(self, write: Callable[..., Any], *arguments: Any) -> bool:
        """Write one here; whether it worked."""
        try:
            write(*arguments)
        except Exception as error:  # whatever a disk, S3 or a client of a server may raise
            self._lose(f"{type(error).__name__}: {error}")
            return False
        self.failing = False
        return True

    def later(self, write: Callable[..., Any], *arguments: Any) -> None:
        """Write one in the thread, after those before it. Arguments must not change any more."""
        if self._waiting is None:
            self._waiting = queue.Queue(self.room)
            threading.Thread(target=self._work, args=(self._waiting,), daemon=True).start()
        try:
            self._waiting.put_nowait((write, arguments))
        except queue.Full:
            self._lose(f"{self.room} wait already")

    def flush(self, patience: float = PATIENCE) -> None:
        """Wait until all are written; `patience` seconds at most, and not at all where the last one failed."""
        end = time.monotonic() + patience
        while self.waiting and not self.failing and time.monotonic() < end:
            time.sleep(0.01)

    @property
    def waiting(self) -> int:
        """Notes that are not written yet."""
        return self._waiting.unfinished_tasks if self._waiting else 0

    @property
    def lost(self) -> int:
        """Notes that were given up, and those that still wait: after a flush, they will not be written."""
        return self.failed + self.waiting

    def _work(self, waiting: "queue.Queue[tuple[Callable[..., Any], tuple[Any, ...]]]") -> None:
        while True:
            write, arguments = waiting.get()
            self.now(write, *arguments)
            waiting.task_done()

    def _lose(self, why: str) -> None:
        with COUNTING:
            self.failed += 1
            first, self.failing = self.failed == 1, True
        if first:
            print(f"dermray: warning: a note for {self.kind} is lost, the work goes on ({why})", file=sys.stderr)


def told(lost: dict[str, int]) -> str:
    """How many notes of which kinds were lost, for people; empty where none was."""
    return ", ".join(f"{count} for {kind}" for kind, count in lost.items() if count)
