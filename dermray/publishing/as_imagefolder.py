"""Image files in folders, as `datasets`' imagefolder reads them: train/00000/<sample_id>.jpg and metadata.parquet.

A folder is a shard, because one of 10^7 files serves nobody. Its table is Parquet, because the library guesses the
types of CSV and JSON lines from the first rows, and refuses a data set of which one split knows no ages.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from dermray import storage
from dermray.publishing.features import schema
from dermray.publishing.files import placed, told
from dermray.publishing.plan import Shard
from dermray.publishing.rows import Row
from dermray.publishing.wrote import Wrote

MOST_ROWS = 10_000  # files in a folder
PATTERN = "{split}/**"
TABLE = "metadata.parquet"


def name(shard: Shard) -> str:
    """Of the shard's folder."""
    return f"{shard.split_name}/{shard.number:05d}"


def write(output: str, shard: Shard, rows: Iterator[Row], columns: list[str], threads: int) -> Wrote:
    """The shard's images, and then its table."""
    typed, wrote, folder, lines = schema(columns, None), Wrote(), name(shard), list[Row]()
    with ThreadPoolExecutor(threads) as pool:
        while some := list(islice(rows, threads)):
            for row in some:
                row["file_name"] = f"{row['sample_id']}.{wrote.image(row['image'], shard.split_name)}"
            places = [storage.join(output, folder, row["file_name"]) for row in some]
            list(pool.map(storage.write_bytes, places, [row.pop("image") for row in some]))
            lines += some
    with placed(output, f"{folder}/{TABLE}") as local:
        pq.write_table(pa.Table.from_pylist(lines, typed), local)
        wrote.files.append(told(f"{folder}/{TABLE}", local))
    return wrote
