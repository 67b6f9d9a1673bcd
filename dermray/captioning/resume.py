"""Ray Data's job checkpoints around one write: rows that were written are left out of the next run."""

import contextlib
from collections.abc import Iterator

from dermray import storage


@contextlib.contextmanager
def resumable(id_column: str, checkpoint: str) -> Iterator[None]:
    """Datasets made and written inside go on from what lies in `checkpoint`.

    `id_column` must be a column of the files read (Ray Data 2.60 raises a KeyError for one made by a map), unique and
    never null: see `require_ids`.
    """
    from ray.data import DataContext
    from ray.data.checkpoint import CheckpointConfig

    system, path = storage.filesystem(checkpoint)
    storage.make_directory(checkpoint)
    DataContext.get_current().checkpoint_config = CheckpointConfig(
        id_column=id_column,
        checkpoint_path=path,
        override_filesystem=system,
        delete_checkpoint_on_success=False,
    )
    try:
        yield
    finally:
        DataContext.get_current().checkpoint_config = None


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
