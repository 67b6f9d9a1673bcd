"""Ray Data's job checkpoints around one write: rows that were written are left out of the next run."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from dermray import s3, storage
from dermray.columns import FILES_AHEAD, ROWS, batches, batches_of
from dermray.exactly_once import Ids, difference, distinct, sorted_hashes

FILES_AT_ONCE = 32  # of a checkpoint in S3, which answers after tens of milliseconds; each thread keeps a MiB or more


@contextlib.contextmanager
def resumable(id_column: str, checkpoint: str) -> Iterator[int]:
    """Datasets made and written inside go on from what lies in `checkpoint`: so many rows are written.

    `id_column` must be a column of the files read (Ray Data 2.60 raises a KeyError for one made by a map), unique and
    never null: see `require_ids`.
    """
    from ray.data import DataContext
    from ray.data.checkpoint import CheckpointConfig

    from dermray.captioning.written import NotWritten, WrittenIds

    system, path = storage.filesystem(checkpoint)
    if isinstance(system, s3.PatientS3):
        system = Commits(**system.options)
    storage.make_directory(checkpoint)
    written = roll_up(checkpoint)
    DataContext.get_current().checkpoint_config = CheckpointConfig(
        id_column=id_column,
        checkpoint_path=path,
        override_filesystem=system,
        delete_checkpoint_on_success=False,
        checkpoint_manager_cls=WrittenIds,
        checkpoint_filter_cls=NotWritten,
    )
    try:
        yield written
    finally:
        DataContext.get_current().checkpoint_config = None


class Commits(s3.PatientS3):
    """A file system for Ray Data's commits of a block: `X.pending.parquet` becomes `X.parquet`.

    Ray asks first whether either is there, with three requests. Here the copy tells: it fails where the block is
    committed already.
    """

    def get_file_info(self, what: Any) -> Any:
        """Of a block's file what it is before its commit, unasked; all else as it is."""
        if isinstance(what, str) and what.endswith(".parquet"):
            begun = what.endswith(f"{_pending()}.parquet")
            return fs.FileInfo(what, fs.FileType.File if begun else fs.FileType.NotFound)
        return super().get_file_info(what)

    def move(self, begun: str, committed: str) -> None:
        """In two requests; nothing where an earlier attempt has done it."""
        try:
            s3.move(f"s3://{begun}", f"s3://{committed}")
        except FileNotFoundError:
            s3.stored(f"s3://{committed}")  # raises the same where it is not there either


def undo_half_committed(checkpoint: str) -> int:
    """Make the blocks be done again whose commit was cut in two; how many these are.

    Ray Data (2.60) commits a block's ids by moving `X.pending.parquet` to `X.parquet`. In S3 that is a copy and then a
    delete. Where a kill comes in between both exist, and Ray's own recovery deletes the block's rows because of the one
    and skips its ids because of the other: the rows would be missing for ever.
    """
    pending = f"{_pending()}.parquet"
    files = storage.list_files(checkpoint, ".parquet")
    committed = {file for file in files if not file.endswith(pending)}
    halves = [file.removesuffix(pending) + ".parquet" for file in files if file.endswith(pending)]
    undone = [file for file in halves if file in committed]
    storage.delete_files(undone)
    return len(undone)


def roll_up(checkpoint: str) -> int:
    """Before a job goes on: the ids that earlier runs committed, a small file a block, in one file; how many they are.

    Ray Data opens each file with several requests, one after the other; here each is one request, many at a time.
    Nothing is lost where this is cut off: ids that stand in two files count once. Holds 9 bytes an id.
    """
    undo_half_committed(checkpoint)  # first: their ids must not get into the one file
    files = [file for file in storage.list_files(checkpoint, ".parquet") if not file.endswith(f"{_pending()}.parquet")]
    if not files:
        return 0
    schema = _schema(files[0])
    parts = batches_of(files, schema.names, files_ahead=FILES_AT_ONCE if storage.is_s3(checkpoint) else FILES_AHEAD)
    if len(files) == 1:
        return distinct(sorted_hashes(part.column(0) for part in parts))
    with _new_file(checkpoint, schema) as writer:
        number = distinct(sorted_hashes(part.column(0) for part in _noted(parts, writer)))
    storage.delete_files(files)
    return number


def _noted(parts: Iterator[pa.RecordBatch], writer: Any) -> Iterator[pa.RecordBatch]:
    """The same parts, that are written too: some thousands of rows together, because a footer tells of each group."""
    held, rows = list[pa.RecordBatch](), 0
    for part in parts:
        held.append(part)
        rows += part.num_rows
        if rows >= ROWS:
            writer.write_table(pa.Table.from_batches(held))
            held, rows = [], 0
        yield part
    if held:
        writer.write_table(pa.Table.from_batches(held))


@contextlib.contextmanager
def _new_file(checkpoint: str, schema: pa.Schema) -> Iterator[Any]:
    """A Parquet file of ids that is there when it is whole."""
    from pyarrow import parquet

    system, path = storage.filesystem(storage.join(checkpoint, f"{uuid.uuid4().hex}.parquet"))
    begun = path if storage.is_s3(checkpoint) else f"{path}.partial"
    with parquet.ParquetWriter(begun, schema, filesystem=system, use_dictionary=False) as writer:  # none twice
        yield writer
    if begun != path:
        os.replace(begun, path)


def _schema(file: str) -> pa.Schema:
    with storage.open_parquet(file) as parquet:
        return parquet.schema_arrow


def _pending() -> str:
    from ray.data.checkpoint.checkpoint_writer import PENDING_CHECKPOINT_SUFFIX

    return str(PENDING_CHECKPOINT_SUFFIX)


def require_each_once(expected: Ids, written: Ids, checkpoints: list[str]) -> None:
    """Before a manifest is written. Where rows are missing, checkpoints are made to say what is there, so that the
    next start does the others and these alone. To be called in a Ray task: see `exactly_once.difference`.

    Raises:
        RuntimeError: says which rows are missing or double, and how to go on.
    """
    wrong = difference(expected, written)
    if wrong is None:
        return
    for checkpoint in checkpoints:
        _rewrite(checkpoint, written)
    how = "start again: what is missing is done then" if wrong.only_missing else "remove this directory and start again"
    raise RuntimeError(f"{wrong.text}. No manifest is written; {how}")


def _rewrite(checkpoint: str, written: Ids) -> None:
    """Note all written ids in one new file, then remove the others: killed in between, it is as it was."""
    before, (column,) = storage.list_files(checkpoint, ".parquet"), written.columns
    storage.make_directory(checkpoint)
    with _new_file(checkpoint, pa.schema([(column, pa.string())])) as file:
        for names in written.names():
            file.write_table(pa.table({column: names}))
    storage.delete_files(before)


def require_ids(uri: str, id_column: str) -> None:
    """Refuse a source whose rows a checkpoint could not tell apart; reads that one column, a part at a time.

    Raises:
        ValueError: no such column, no Parquet files, or ids that are null.
    """
    files = storage.list_files(uri, ".parquet")
    names = _schema(files[0]).names if files else []
    if id_column not in names:
        raise ValueError(
            f"{uri}: no column {id_column!r} in its Parquet files ({', '.join(names[:8]) or 'none'}); "
            "without it a killed job could not go on; ingest these images first"
        )
    usable = pc.field("status") == "ok"
    nameless = sum(batch.column(0).null_count for batch in batches(uri, [id_column, "status"], usable))
    if nameless:
        raise ValueError(f"{uri}: {nameless} usable rows have no {id_column}; ingest these images again")
