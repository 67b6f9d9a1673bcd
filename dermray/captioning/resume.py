"""Ray Data's job checkpoints around one write: rows that were written are left out of the next run."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from pyarrow import fs

from dermray import s3, storage
from dermray.columns import batches
from dermray.exactly_once import Ids, difference, hashes

FILES_AT_A_TIME = 64


@contextlib.contextmanager
def resumable(id_column: str, checkpoint: str) -> Iterator[None]:
    """Datasets made and written inside go on from what lies in `checkpoint`.

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
    roll_up(checkpoint)
    DataContext.get_current().checkpoint_config = CheckpointConfig(
        id_column=id_column,
        checkpoint_path=path,
        override_filesystem=system,
        delete_checkpoint_on_success=False,
        checkpoint_manager_cls=WrittenIds,
        checkpoint_filter_cls=NotWritten,
    )
    try:
        yield
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
    Nothing is lost where this is cut off: ids that stand in two files count once.
    """
    import numpy as np

    undo_half_committed(checkpoint)  # first: their ids must not get into the one file
    files = [file for file in storage.list_files(checkpoint, ".parquet") if not file.endswith(f"{_pending()}.parquet")]
    if not files:
        return 0
    ids, several = list[np.ndarray](), len(files) > 1
    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool, contextlib.ExitStack() as stack:
        writer = stack.enter_context(_new_file(checkpoint, _read(files[0]).schema)) if several else None
        for start in range(0, len(files), FILES_AT_A_TIME):
            for table in pool.map(_read, files[start : start + FILES_AT_A_TIME]):
                ids.append(hashes(table.column(0)))
                if writer is not None:
                    writer.write_table(table)
    if several:
        storage.delete_files(files)
    return len(np.unique(np.concatenate(ids)))


@contextlib.contextmanager
def _new_file(checkpoint: str, schema: pa.Schema) -> Iterator[Any]:
    """A Parquet file of ids that is there when it is whole."""
    from pyarrow import parquet

    system, path = storage.filesystem(storage.join(checkpoint, f"{uuid.uuid4().hex}.parquet"))
    begun = path if storage.is_s3(checkpoint) else f"{path}.partial"
    with parquet.ParquetWriter(begun, schema, filesystem=system) as writer:
        yield writer
    if begun != path:
        os.replace(begun, path)


def _read(file: str) -> pa.Table:
    from pyarrow import parquet

    data = s3.read(file) if storage.is_s3(file) else storage.read_bytes(file)
    return parquet.read_table(pa.BufferReader(data))


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
    import pyarrow.dataset

    system, path = storage.filesystem(uri)
    files = s3.again(lambda: pyarrow.dataset.dataset(path, filesystem=system, format="parquet"))
    if id_column not in files.schema.names:
        raise ValueError(
            f"{uri}: no column {id_column!r} in its Parquet files ({', '.join(files.schema.names[:8]) or 'none'}); "
            "without it a killed job could not go on; ingest these images first"
        )
    usable = pyarrow.dataset.field("status") == "ok"
    nameless = sum(batch.column(0).null_count for batch in batches(uri, [id_column, "status"], usable))
    if nameless:
        raise ValueError(f"{uri}: {nameless} usable rows have no {id_column}; ingest these images again")
