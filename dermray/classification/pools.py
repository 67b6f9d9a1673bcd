"""Rows that a sweep takes its images from: small columns and a label's number, without pixels."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dermray import storage
from dermray.classification.targets import UNKNOWN, Target
from dermray.manifest import Result
from dermray.picked import FILE, pick
from dermray.records import count_rows

GROUPS = ("skin_tone", "sex", "age", "site", "source")  # by which metrics are taken apart
COLUMNS = ["leak_group", "patient_id", "lesion_id", "split", *GROUPS]


def read_pool(result: Result, where: Any, target: Target, most: int | None = None) -> tuple[pa.Table, int]:
    """The rows whose label is known, in the order of their ids, and how many have none.

    Args:
        most: rows, if not all: those with the least ids.

    Returns:
        A table of sample_id, COLUMNS, label (int64, a class's number) and what `picked.images` needs.
    """
    labelled = where & pc.field(target.column).is_valid()
    rows = pick(result.row_files(), [*COLUMNS, target.column], labelled, most)
    labels = target.numbers(rows[target.column].to_pylist())
    named = rows.select(["sample_id", *COLUMNS, FILE]).append_column("label", pa.array(labels, pa.int64()))
    known = labels != UNKNOWN
    unknown = count_unlabelled(result, where, target) + int((~known).sum())
    return named.filter(pa.array(known)), unknown


def count_unlabelled(result: Result, where: Any, target: Target) -> int:
    """Rows whose label is null."""
    return count_rows(result.row_files(), where & pc.field(target.column).is_null())


def write_pool(rows: pa.Table, uri: str) -> None:
    """As Parquet, for trials to read."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows.drop_columns([FILE]), sink)
    storage.write_bytes(uri, memoryview(sink.getvalue()))


def read_ids_and_labels(uri: str) -> tuple[list[str], np.ndarray]:
    """Sample ids and (N,) class numbers of a written pool."""
    with storage.open_parquet(uri) as file:
        rows = file.read(["sample_id", "label"])
    return rows["sample_id"].to_pylist(), rows["label"].to_numpy()
