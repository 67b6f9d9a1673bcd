"""The shards of a bucket, opened while they are needed: those in S3 are copied to this node in the background."""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import pyarrow as pa
import pyarrow.feather as feather

from dermray import node_cache, storage

AT_ONCE = 4  # shards copied at a time; each comes in parallel parts already


class Opened(NamedTuple):
    """A shard mapped into memory, and what keeps its copy on this node."""

    table: pa.Table
    use: ExitStack


class Shards:
    """Arrow files of one directory, local or in S3, by their place in `names`."""

    def __init__(self, directory: str, names: list[str]) -> None:
        self._uris = [storage.join(directory, name) for name in names]
        self._opened: dict[int, Future[Opened]] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE, "shards")

    def __len__(self) -> int:
        return len(self._uris)

    def __getitem__(self, number: int) -> pa.Table:
        """A shard's rows; waits where its copy is under way.

        Raises:
            FileNotFoundError: it is missing. NoRoom: there is no room for its copy on this node.
        """
        if number not in self._opened or _failed(self._opened[number]):  # there may be room now
            self._begin(number)
        return self._opened[number].result().table

    def keep(self, numbers: Iterable[int]) -> None:
        """Begin to open these, and let go of all others: their copies may be removed when others need the room."""
        wanted = set(numbers)
        for number in self._opened.keys() - wanted:
            opened = self._opened.pop(number)
            if not opened.cancel():
                opened.add_done_callback(_let_go)
        for number in sorted(wanted):
            if number not in self._opened or _failed(self._opened[number]):
                self._begin(number)

    def _begin(self, number: int) -> None:
        self._opened[number] = self._threads.submit(_open, self._uris[number])


def _open(uri: str) -> Opened:
    with ExitStack() as use:
        file = use.enter_context(node_cache.in_use(uri))
        return Opened(feather.read_table(file, memory_map=True), use.pop_all())
    raise AssertionError  # `with` may swallow exceptions, for all that a type checker knows


def _failed(opened: Future[Opened]) -> bool:
    return opened.done() and opened.exception() is not None


def _let_go(opened: Future[Opened]) -> None:
    if opened.exception() is None:
        opened.result().use.close()
