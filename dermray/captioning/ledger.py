"""What engines note while they work: when each was ready, and which blocks it began.

Empty files below `<data>/ledger`, one an engine and one a block, so that killed engines have noted what they began:
rows begun less rows written is work done twice. A file's name says all, so one listing reads all notes.

    <data>/ledger/<kind>/<Unix seconds>-<rows>-<uuid>
"""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from typing import NamedTuple

from dermray import storage
from dermray.bookkeeping import Notes


class Note(NamedTuple):
    """When it was made, and the rows it is about."""

    time: float
    rows: int


@dataclass
class Ledger:
    """Where the notes lie. What an engine cannot note stops no engine."""

    uri: str
    _best_effort: Notes = field(default_factory=lambda: Notes("the ledger of engines"), init=False)
    _owed: int = field(default=0, init=False)

    def engine_ready(self) -> None:
        """An engine takes requests from now on."""
        self._best_effort.now(self._note, "engine", 0)

    async def begun(self, rows: int) -> None:
        """An engine takes on a block of `rows`: written before it asks, in a thread. What could not be noted is noted
        with the next block, so that the sum is right again."""
        rows, self._owed = rows + self._owed, 0
        if not await asyncio.to_thread(self._best_effort.now, self._note, "block", rows):
            self._owed += rows

    def run_begun(self, already_written: int) -> None:
        """A driver starts, or starts again.

        Raises:
            OSError: it cannot be noted; rates and counts of the job are made from it.
        """
        self._note("run", already_written)

    def notes(self, kind: str) -> list[Note]:
        """All notes of one kind, in order of time."""
        names = [file.rpartition("/")[2] for file in storage.list_files(storage.join(self.uri, kind))]
        parts = [name.split("-") for name in names if name.count("-") == 2]  # others are being written
        return sorted(Note(float(seconds), int(rows)) for seconds, rows, _ in parts)

    def _note(self, kind: str, rows: int) -> None:
        name = f"{time.time():.6f}-{rows}-{uuid.uuid4().hex}"
        storage.write_bytes(storage.join(self.uri, kind, name), b"")
