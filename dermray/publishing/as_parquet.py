"""Parquet as the Hugging Face hub has it: data/train-00000-of-00012.parquet, images within, typed by `datasets`."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dermray.publishing.conversations import MESSAGES
from dermray.publishing.features import column, schema
from dermray.publishing.files import placed, told
from dermray.publishing.plan import Shard
from dermray.publishing.rows import Row
from dermray.publishing.wrote import Wrote

MOST_ROWS = 1_000_000
ROWS_PER_GROUP, BYTES_PER_GROUP = 100, 16 << 20  # what a reader takes at once, and what is held here some ten times
PATTERN = "data/{split}-*.parquet"


def name(shard: Shard) -> str:
    """Of the shard's file."""
    return f"data/{shard.split_name}-{shard.number:05d}-of-{shard.of:05d}.parquet"


def write(output: str, shard: Shard, rows: Iterator[Row], columns: list[str], threads: int) -> Wrote:
    """The shard's file, row group by row group."""
    typed, wrote, file = schema(columns, "image"), Wrote(), name(shard)
    options: dict[str, Any] = {
        "use_dictionary": [name for name in columns if name != "sample_id"],
        "compression": dict.fromkeys(columns, "snappy") | {"image": "none"},  # an image is compressed already
        "write_statistics": [name for name in columns if not pa.types.is_nested(column(name).type)],
        "write_page_index": True,
    }
    with placed(output, file) as local:
        with pq.ParquetWriter(local, typed, **options) as parquet:
            for group in _groups(rows):
                parquet.write_table(pa.Table.from_pylist([_row(row, wrote, shard) for row in group], typed))
        wrote.files.append(told(file, local))
    return wrote


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    group, size = list[Row](), 0
    for row in rows:
        group.append(row)
        size += len(row["image"])
        if len(group) == ROWS_PER_GROUP or size >= BYTES_PER_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _row(row: Row, wrote: Wrote, shard: Shard) -> Row:
    """With the image as the library's feature Image has it."""
    ending = wrote.image(row["image"], shard.split_name)
    wrote.turns[shard.split_name] += len(row.get(MESSAGES.name, ())) // 2
    return row | {"image": {"bytes": row["image"], "path": f"{row['sample_id']}.{ending}"}}
