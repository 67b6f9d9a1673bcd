"""Blocks of rows: a Parquet file each, whose name is a hash of all that its rows are made of.

So the files are the checkpoint. A block whose file is there is done; one that was made of something else has another
name, and is in nobody's way; and a block that is made twice, because its first worker seemed dead, is there once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

import pyarrow as pa

from dermray import storage
from dermray.whole_file import whole_file

MOST_TASKS = 4096  # that a phase is dealt into: each costs the driver up to a millisecond and some 60 KiB


class Block(NamedTuple):
    """A file that is there."""

    name: str
    rows: int


def digest(*values: Any) -> str:
    """A name for what these hold, the same in every process."""
    return sha256(repr(_plain(values)).encode()).hexdigest()[:24]


def _plain(value: Any) -> Any:
    """What `repr` says alike in every process: no addresses, no order of sets."""
    if isinstance(value, partial):
        return _plain([value.func, value.args, value.keywords])
    if isinstance(value, Mapping):
        return sorted((repr(_plain(key)), _plain(held)) for key, held in value.items())
    if isinstance(value, set | frozenset):
        return sorted(repr(_plain(each)) for each in value)
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return value


def rows_in(file: str) -> int | None:
    """Rows of a block that is there; None where it is not, or not whole after a machine has lost its power."""
    try:
        with storage.open_parquet(file) as parquet:
            return int(parquet.metadata.num_rows)
    except (OSError, ValueError):
        return None


def write_block(file: str, tables: Iterable[pa.Table], schema: pa.Schema, **options: Any) -> int:
    """The rows of these tables, each a row group; how many rows. Holds one table at a time."""
    from pyarrow import parquet

    number = 0
    with whole_file(file) as whole, parquet.ParquetWriter(whole, schema, **options) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(1, len(table)))
            number += len(table)
    return number


def all_blocks(places: Any, write: Callable[[pa.Table], Iterator[pa.Table]]) -> list[Block]:
    """Blocks of a Ray dataset of places, in the order of their names. `write` makes tables of Block out of places."""
    made = places.map_batches(write, batch_format="pyarrow", batch_size=None)
    told = [Block(**told) for batch in made.iter_batches(batch_size=None, batch_format="pyarrow")
            for told in batch.to_pylist()]  # fmt: skip
    return sorted(set(told))


def remove_others(directory: str, blocks: list[Block]) -> int:
    """Remove blocks that are none of these, and what killed writers left; how many blocks."""
    kept = {f"{block.name}.parquet" for block in blocks}
    others = [file for file in storage.list_files(directory) if file.rpartition("/")[2] not in kept]
    storage.delete_files(others)
    return sum(file.endswith(".parquet") for file in others)
