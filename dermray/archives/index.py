"""An archive's files by name: an Arrow table sorted by name, kept on the node and mapped into memory by its processes.

    <cache>/archives/<key>.arrow   names, places, sizes: about 90 bytes a file
    <cache>/archives/<key>.states  of a .tar.gz, what it takes to unpack it from its middle: see tars.py

`key` is a hash of the archive's URI, size and version (ETag, time of writing), so that another archive of the same name
has another index. Of a node's processes one makes it, and the others wait. Where the cache cannot be written, each
process makes its own.
"""

import bisect
import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dermray.archives import tars, zips
from dermray.archives.members import Member
from dermray.cache_place import root
from dermray.stores import Ranges

SCHEMA = pa.schema(
    [
        ("name", pa.large_binary()), ("start", pa.int64()), ("packed", pa.int64()), ("size", pa.int64()),
        ("method", pa.uint8()), ("crc", pa.uint32()), ("reason", pa.string()),
    ]
)  # fmt: skip
BATCH = 1 << 16  # files turned into Arrow at a time
LISTED = 1 << 12  # files of a long list that are handed on at a time
KEPT = 30 * 24 * 3600  # seconds that an index is kept after it was last opened
LINKS = 8  # that may lead to each other
REPLACED = "replaced by a later file of this name in its archive"


class Index:
    """Files of an archive, in the order of their names."""

    def __init__(self, table: pa.Table, states: bytes = b"") -> None:
        self.states = states
        self.names = _only_chunk(table, "name")
        self._all = [self.names, *(_only_chunk(table, name) for name in SCHEMA.names[1:])]

    def __len__(self) -> int:
        return len(self.names)

    def find(self, name: str) -> Member | None:
        """The file of this name."""
        wanted = name.encode("utf-8", "surrogateescape")
        place = self._first(wanted)
        return self.at(place) if place < len(self) and self.names[place].as_py() == wanted else None

    def at(self, place: int) -> Member:
        """The file at a place in the order."""
        return Member(*(column[place].as_py() for column in self._all))

    def is_folder(self, name: str) -> bool:
        """Whether files lie below it."""
        below = (name.rstrip("/") + "/").encode("utf-8", "surrogateescape") if name else b""
        place = self._first(below)
        return place < len(self) and self.names[place].as_py().startswith(below)

    def level(self, folder: str) -> Iterator[Member | bytes]:
        """Files right in a folder, and the names of the folders in it, which end with a slash.

        Args:
            folder: ends with a slash itself, or is the whole archive, "".
        """
        before = folder.encode("utf-8", "surrogateescape")
        place = self._first(before)
        while place < len(self) and (name := self.names[place].as_py()).startswith(before):
            inner, slash, _ = name[len(before) :].partition(b"/")
            if not slash or name == before:
                yield self.at(place)
                place += 1
            else:
                below: bytes = before + inner + b"/"
                yield below
                place = self._first(before + inner + b"0")  # the character after the slash

    def below(self, folder: str) -> Iterator[Member]:
        """All files in a folder and below it; see `level`."""
        before = folder.encode("utf-8", "surrogateescape")
        first, end = self._first(before), self._first(before[:-1] + b"0") if before else len(self)
        for start in range(first, end, LISTED):
            part = [column.slice(start, min(LISTED, end - start)).to_pylist() for column in self._all]
            yield from (Member(*told) for told in zip(*part, strict=True))

    def _first(self, name: bytes) -> int:
        """The place of the first name that is not before this one."""
        return bisect.bisect_left(range(len(self)), name, key=lambda place: self.names[place].as_py())


def _only_chunk(table: pa.Table, name: str) -> Any:
    return table[name].chunk(0) if len(table) else pa.array([], SCHEMA.field(name).type)


def of(file: Ranges) -> Index:
    """The index of an archive: opened, or made where this node has none.

    Raises:
        DamagedArchive: see `zips.members`, `tars.members`. OSError: the archive is not given.
    """
    from filelock import FileLock

    key = hashlib.sha256(f"{file.uri}\n{file.size}\n{file.version}".encode()).hexdigest()[:24]
    place = root() / "archives" / f"{key}.arrow"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place.with_suffix(".lock"))
        lock.acquire()
    except OSError:
        return _made(file)[0]
    with lock:
        if found := _opened(place):
            return found
        index, table = _made(file)
        with contextlib.suppress(OSError):  # a full disk: this process has what it needs
            _write(place, table, index.states)
        return _opened(place) or index


def _opened(place: Path) -> Index | None:
    try:
        states = place.with_suffix(".states").read_bytes()
        with pa.memory_map(str(place)) as file:
            table = pa.ipc.open_file(file).read_all()
        os.utime(place)
    except (OSError, pa.ArrowInvalid):
        return None
    return Index(table, states)


def _write(place: Path, table: pa.Table, states: bytes) -> None:
    _forget_old(place.parent)
    partial = place.with_suffix(f".{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(states)
        os.replace(partial, place.with_suffix(".states"))
        with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=max(1, len(table)))
        os.replace(partial, place)
    finally:
        partial.unlink(missing_ok=True)


def _forget_old(folder: Path) -> None:
    for file in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > KEPT and file.suffix != ".lock":
                file.unlink()


def _made(file: Ranges) -> tuple[Index, pa.Table]:
    if file.uri.lower().endswith(".zip"):
        found, states = zips.members(file), b""
    else:
        listed, states = tars.members(file)
        found = iter(listed)
    table = sorted_table(found)
    return Index(table, states), table


def sorted_table(members: Iterable[Member]) -> pa.Table:
    """An archive's files by name. Of several of one name the last counts, as unpacking would leave it; the others are
    listed under other names, with that reason. Links become what they stand for."""
    batches, part, links = list[pa.RecordBatch](), dict[int, Member](), dict[int, Member]()
    for number, member in enumerate(members):
        (part if member.link is None else links)[number] = member
        if len(part) == BATCH:
            batches.append(_batch(part))
            part = {}
    table = _in_order(pa.Table.from_batches([*batches, _batch(part)]))
    if links:
        targets = {member.name: member for member in links.values()}
        files = Index(table)
        followed = {number: _followed(member, files, targets) for number, member in links.items()}
        table = _in_order(pa.concat_tables([table, pa.Table.from_batches([_batch(followed)])]))
    return table.drop_columns("number")


def _batch(members: dict[int, Member]) -> pa.RecordBatch:
    columns: list[Any] = list(zip(*members.values(), strict=True)) or [()] * len(SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=False)]
    return pa.record_batch([*arrays, pa.array(members, pa.int64())], SCHEMA.append(pa.field("number", pa.int64())))


def _in_order(table: pa.Table) -> pa.Table:
    """Rows by name; of equal names all but the last renamed."""
    by_name = [("name", "ascending"), ("number", "ascending")]
    table = table.sort_by(by_name).combine_chunks()
    names = table["name"].combine_chunks() if len(table) > 1 else []
    if not len(names) or not pc.any(pc.equal(names[:-1], names[1:])).as_py():
        return table
    rows = table.to_pylist()  # no ordinary archive
    for row, following in pairwise(rows):
        if row["name"] == following["name"]:
            row |= {"reason": REPLACED, "name": row["name"] + f" (entry {row['number'] + 1})".encode()}
    return pa.Table.from_pylist(rows, table.schema).sort_by(by_name).combine_chunks()


def _followed(link: Member, files: Index, links: dict[bytes, Member]) -> Member:
    """A link as the file that it stands for, by way of other links too; else with its reason."""
    target: Member | None = link
    for _ in range(LINKS):
        assert target is not None and target.link is not None
        name = target.link
        target = files.find(os.fsdecode(name)) or links.get(name)
        if target is None:
            return link
        if target.link is None:
            return target._replace(name=link.name)
    return link
