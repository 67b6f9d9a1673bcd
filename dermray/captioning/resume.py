"""Ray Data's job checkpoints around one write: rows that were written are left out of the next run."""

import contextlib
import uuid
from collections.abc import Iterator

from dermray import storage
from dermray.exactly_once import Ids, difference


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
    storage.make_directory(checkpoint)
    undo_half_committed(checkpoint)
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


def undo_half_committed(checkpoint: str) -> int:
    """Make the blocks be done again whose commit was cut in two; how many these are.

    Ray Data (2.60) commits a block's ids by moving `X.pending.parquet` to `X.parquet`. In S3 that is a copy and then a
    delete. Where a kill comes in between both exist, and Ray's own recovery deletes the block's rows because of the one
    and skips its ids because of the other: the rows would be missing for ever.
    """
    from ray.data.checkpoint.checkpoint_writer import PENDING_CHECKPOINT_SUFFIX

    pending = f"{PENDING_CHECKPOINT_SUFFIX}.parquet"
    files = storage.list_files(checkpoint, ".parquet")
    committed = {file for file in files if not file.endswith(pending)}
    halves = [file.removesuffix(pending) + ".parquet" for file in files if file.endswith(pending)]
    undone = [file for file in halves if file in committed]
    for file in undone:
        storage.delete_file(file)
    return len(undone)


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
    import pyarrow as pa
    import pyarrow.parquet as pq

    before, (column,) = storage.list_files(checkpoint, ".parquet"), written.columns
    storage.make_directory(checkpoint)
    system, path = storage.filesystem(storage.join(checkpoint, f"{uuid.uuid4().hex}.parquet"))
    with pq.ParquetWriter(path, pa.schema([(column, pa.string())]), filesystem=system) as file:
        for names in written.names():
            file.write_table(pa.table({column: names}))
    for old in before:
        storage.delete_file(old)


def require_ids(uri: str, id_column: str) -> None:
    """Refuse a source whose rows a checkpoint could not tell apart; reads that one column, a part at a time.

    Raises:
        ValueError: no such column, no Parquet files, or ids that are null.
    """
    import pyarrow.dataset

    system, path = storage.filesystem(uri)
    files = pyarrow.dataset.dataset(path, filesystem=system, format="parquet")
    if id_column not in files.schema.names:
        raise ValueError(
            f"{uri}: no column {id_column!r} in its Parquet files ({', '.join(files.schema.names[:8]) or 'none'}); "
            "without it a killed job could not go on; ingest these images first"
        )
    usable = pyarrow.dataset.field("status") == "ok"
    nameless = sum(batch.column(0).null_count for batch in files.to_batches(columns=[id_column], filter=usable))
    if nameless:
        raise ValueError(f"{uri}: {nameless} usable rows have no {id_column}; ingest these images again")
