"""What a disk or a store may do to rows after they were written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def lose_a_row(data: str) -> None:
    """Take the first row out of a stage's first file."""
    file = _first(data)
    pq.write_table(pq.read_table(file).slice(1), file)


def double_a_row(data: str) -> None:
    """Write the last row of a stage's first file once more."""
    file = _first(data)
    table = pq.read_table(file)
    pq.write_table(pa.concat_tables([table, table.slice(len(table) - 1)]), file)


def swap_a_row(data: str) -> None:
    """Both: the number of rows is right."""
    lose_a_row(data)
    double_a_row(data)


def _first(data: str) -> Path:
    return min(Path(data, "rows").rglob("*.parquet"))
