"""What engines note while they work: when each was ready, and which blocks it began.

Files below `<data>/ledger`, one an engine and one a block, so that killed engines have noted what they began: rows
begun less rows written is work done twice.
"""

import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

from dermray import storage


@dataclass(frozen=True)
class Ledger:
    """Where the notes lie."""

    uri: str

    def engine_ready(self) -> None:
        """An engine takes requests from now on."""
        self._note("engine")

    def begun(self, rows: int) -> None:
        """An engine takes on a block of `rows`."""
        self._note("block", rows=rows)

    def run_begun(self, already_written: int) -> None:
        """A driver starts, or starts again."""
        self._note("run", already_written=already_written)

    def notes(self, kind: str) -> list[dict[str, Any]]:
        """All notes of one kind, in order of time."""
        files = storage.list_files(storage.join(self.uri, kind), ".json")
        found = [json.loads(storage.read_bytes(file)) for file in files]
        return sorted(found, key=lambda note: float(note["time"]))

    def _note(self, kind: str, **what: Any) -> None:
        note = {"time": time.time()} | what
        storage.write_bytes(storage.join(self.uri, kind, f"{uuid.uuid4().hex}.json"), json.dumps(note).encode())
