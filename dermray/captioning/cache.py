"""Answers that were paid for, kept until their rows are written: after a crash they are not asked for again.

    <data>/answers/blocks/<block>/<uuid>.jsonl    answers about the rows of one block, as they come in
    <data>/answers/earlier.jsonl                  what killed runs left, of rows that were not written

An engine that is started again within a run gets the same blocks; another run cuts the rows that are left into other
blocks, so it first collects what earlier ones left. Locally an answer is written at once. In S3 an object an answer
would be too many: what came in the last SECONDS can be lost, as are requests that are under way.
"""

import asyncio
import contextlib
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dermray import storage
from dermray.columns import batches_of
from dermray.exactly_once import hashes, sorted_hashes

if TYPE_CHECKING:
    import numpy as np

VERSION = 2  # of what an answer's columns mean: another one asks anew
SECONDS = 5  # between two objects of a block: at 6 answers a second 0.03 requests a row, and 30 answers at stake
ANSWERS_PER_OBJECT = 64
FILES_AT_A_TIME = 64  # held in memory together while earlier answers are collected

Columns = dict[str, Any]


def key(*what: Any) -> str:
    """Names a request by everything that decides its answer, which must be JSON."""
    return hashlib.sha256(json.dumps([VERSION, *what], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class AnswerCache:
    """Where the answers lie."""

    uri: str

    @property
    def _earlier(self) -> str:
        return storage.join(self.uri, "earlier.jsonl")

    @property
    def _blocks(self) -> str:
        return storage.join(self.uri, "blocks")

    def collect(self, checkpoint: str, id_column: str = "sample_id") -> None:
        """Keep, in one file, what earlier runs left of rows whose ids are not in `checkpoint`.

        To be called before engines start. Reads all answers, some files at a time; holds eight bytes a written row.
        Here a row's id is called sample_id whatever its column is called elsewhere.
        """
        blocks = storage.list_files(self._blocks, ".jsonl")
        if not blocks:
            return
        written = _written(checkpoint, id_column)
        files = storage.list_files(self.uri, ".jsonl")
        left = [line for lines in _read(files) for line in _without(lines, written)]
        storage.write_bytes(self._earlier, b"\n".join(left))
        storage.delete_tree(self._blocks)

    def earlier(self) -> dict[str, Columns]:
        """Answers that earlier runs left, by key."""
        try:
            return _by_key(storage.read_bytes(self._earlier).splitlines())
        except FileNotFoundError:
            return {}

    @contextlib.asynccontextmanager
    async def block(self, sample_ids: list[str]) -> AsyncIterator["Block"]:
        """The answers about a block of rows; at its end all are safe."""
        name = hashlib.sha256("\n".join(sample_ids).encode()).hexdigest()[:16]
        block = await asyncio.to_thread(Block.opened, storage.join(self._blocks, name))
        try:
            yield block
        finally:
            await block.close()


@dataclass
class Block:
    """Answers about the rows of one block: those that were found, and those that come in."""

    uri: str
    answers: dict[str, Columns]
    _waiting: list[bytes] = field(default_factory=list)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _closing: asyncio.Event = field(default_factory=asyncio.Event)
    _timer: asyncio.Task[None] | None = None
    _part: str = field(default_factory=lambda: f"{uuid.uuid4().hex}.jsonl")

    @classmethod
    def opened(cls, uri: str) -> "Block":
        """The block with what an earlier engine of this run wrote of it."""
        files = storage.list_files(uri, ".jsonl")
        return cls(uri, _by_key([line for lines in _read(files) for line in lines]))

    async def keep(self, name: str, sample_id: str, columns: Columns) -> None:
        """Write an answer: at once, or together with others where an object an answer would be too many."""
        self._waiting.append(json.dumps({"key": name, "sample_id": sample_id, "columns": columns}).encode() + b"\n")
        if not storage.is_s3(self.uri) or len(self._waiting) >= ANSWERS_PER_OBJECT:
            await self._write()
        elif self._timer is None or self._timer.done():
            if self._timer is not None:
                self._timer.result()  # raises what the last writing did
            self._timer = asyncio.create_task(self._write_later())

    async def close(self) -> None:
        """Write what waits."""
        self._closing.set()
        if self._timer is not None:
            await self._timer
        await self._write()

    async def _write_later(self) -> None:
        while self._waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), SECONDS)
            await self._write()

    async def _write(self) -> None:
        async with self._writing:  # what comes in meanwhile is written together
            lines = list(self._waiting)
            if lines:
                await asyncio.to_thread(self._append, b"".join(lines))
                del self._waiting[: len(lines)]

    def _append(self, lines: bytes) -> None:
        if storage.is_s3(self.uri):
            storage.write_bytes(storage.join(self.uri, f"{uuid.uuid4().hex}.jsonl"), lines)
            return
        storage.make_directory(self.uri)
        with open(storage.join(self.uri, self._part), "ab") as file:
            file.write(lines)


def _read(files: list[str]) -> Iterator[list[bytes]]:
    """Lines of each file."""
    with ThreadPoolExecutor(16) as pool:  # S3 answers after milliseconds, so many are asked together
        for start in range(0, len(files), FILES_AT_A_TIME):
            some = pool.map(storage.read_bytes, files[start : start + FILES_AT_A_TIME])
            yield from (data.splitlines() for data in some)


def _notes(lines: list[bytes]) -> list[tuple[bytes, dict[str, Any]]]:
    """Whole lines with what they say. The last one of a killed writer may be cut: that answer is lost."""
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append((line, json.loads(line)))
    return found


def _by_key(lines: list[bytes]) -> dict[str, Columns]:
    return {note["key"]: note["columns"] for _, note in _notes(lines)}


def _written(checkpoint: str, id_column: str) -> "np.ndarray":
    """Sorted hashes of the ids that are written for good, as Ray Data notes them."""
    files = [file for file in storage.list_files(checkpoint, ".parquet") if not file.endswith(".pending.parquet")]
    return sorted_hashes(batch[id_column] for batch in batches_of(files, [id_column]))


def _without(lines: list[bytes], written: "np.ndarray") -> list[bytes]:
    """Lines about rows that are not written."""
    import numpy as np

    notes = _notes(lines)
    if not len(written) or not notes:
        return [line for line, _ in notes]
    asked = hashes(pa.array([note["sample_id"] for _, note in notes], pa.string()))
    there = written[np.minimum(np.searchsorted(written, asked), len(written) - 1)] == asked
    return [line for (line, _), done in zip(notes, there, strict=True) if not done]
