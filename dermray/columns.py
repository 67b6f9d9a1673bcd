"""Some columns of all rows of a stage, a batch at a time, in memory that grows neither with the files nor the rows.

A pyarrow dataset keeps what it has parsed of every footer, 140 KB a file of captioned rows, which is 500 bytes a row
where a file has 256; and its scanner reads a file to the end, however slowly its batches are taken. Here each file is
opened, read and let go.
"""

from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dermray import storage
from dermray.picked import FILE
from dermray.records import kind
from dermray.row_files import RowFiles, row_files

ROWS = 1 << 14  # in a batch
BUFFER = 1 << 20  # bytes of each column of a large file
KINDS, OTHER = 10_000, "other reasons"  # are counted one by one, and those beyond
FILES_AHEAD = 8  # opened while one is read: S3 answers after tens of milliseconds

Tally = Counter[Any]  # (status, reason, ...) -> rows


def batches(rows: str | RowFiles, columns: list[str], where: Any = None) -> Iterator[pa.RecordBatch]:
    """These columns of the Parquet files of some rows, file by file in the order of their names.

    Args:
        columns: FILE among them gives the file that a row lies in. where: pyarrow expression over `columns` that
            leaves rows out.

    Raises:
        KeyError: a file has no such column.
    """
    files, ok = row_files(rows), pc.field("status") == "ok"
    yield from batches_of(storage.list_files(files.uri, ".parquet"), columns, where)
    for uri in files.kept:
        named = list(dict.fromkeys([*columns, "status"]))
        for batch in batches_of(storage.list_files(uri, ".parquet"), named, ok if where is None else ok & where):
            yield batch.select(columns)


def batches_of(
    files: list[str], columns: list[str], where: Any = None, files_ahead: int = FILES_AHEAD
) -> Iterator[pa.RecordBatch]:
    """The same of these files, all local or all in S3."""
    read = [name for name in columns if name != FILE]
    with ThreadPoolExecutor(files_ahead) as pool:
        opened = ((file, pool.submit(_open, file, read)) for file in files)
        ahead = deque(islice(opened, files_ahead))
        while ahead:
            file, batches = ahead.popleft()
            for batch in batches.result():
                chosen = (_placed(batch, file) if FILE in columns else batch).select(columns)
                yield chosen if where is None else chosen.filter(where)
            ahead.extend(islice(opened, 1))


def _placed(batch: pa.RecordBatch, file: str) -> pa.RecordBatch:
    """With where it lies, as pyarrow's datasets say it."""
    return batch.append_column(FILE, pa.repeat(storage.filesystem(file)[1], batch.num_rows))


def _open(file: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """A file of one batch is read at once, in few requests; of a larger one pages come through a buffer."""
    with storage.open_parquet(file, pre_buffer=True) as small:
        if small.metadata.num_rows <= ROWS:
            return iter(small.read(columns, use_threads=False).combine_chunks().to_batches())
    return _of_large(storage.open_parquet(file, buffer_size=BUFFER), columns)


def _of_large(file: Any, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """By row groups: read across them, pyarrow (26) holds what it has handed on until the file's end."""
    with file:
        for group in range(file.num_row_groups):
            yield from file.iter_batches(ROWS, row_groups=[group], columns=columns, use_threads=False)


def tally(rows: str | RowFiles, more: list[str]) -> Tally:
    """How often each combination of status, kind of reason and `more` columns occurs."""
    counts: Tally = Counter()
    for batch in batches(rows, ["status", "reason", *more]):
        add(counts, batch)
    return counts


def add(counts: Tally, batch: pa.RecordBatch) -> None:
    """Count rows whose first columns are status and reason."""
    names, number = batch.schema.names, "count_all"
    for row in pa.Table.from_batches([batch]).group_by(names).aggregate([([], number)]).to_pylist():
        status, reason, *values = (row[name] for name in names)
        add_one(counts, (status, reason and kind(reason), *values), row[number])


def add_one(counts: Tally, what: tuple[Any, ...], number: int) -> None:
    """Where each row has a reason of its own, as some servers' errors have, not all of these are kept."""
    known = what in counts or len(counts) < KINDS
    counts[what if known else (what[0], what[1] and OTHER, *what[2:])] += number
