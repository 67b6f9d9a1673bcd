"""Rows that a sweep takes its images from: small columns and a label's number, without pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dermray import storage
from dermray.classification import attributes
from dermray.classification.targets import UNKNOWN, Target
from dermray.manifest import Result
from dermray.picked import FILE, pick
from dermray.records import count_rows

COLUMNS = ["leak_group", "patient_id", "lesion_id", "split", *attributes.COLUMNS]


@dataclass(frozen=True)
class Pools:
    """Where the rows lie that trials choose from, are validated and tested on."""

    directory: str
    synthetic: dict[str, str]  # files by source
    tests: list[str]  # names of test sets; the first is what the sweep is judged by

    @property
    def real(self) -> str:
        """File of the real training images."""
        return storage.join(self.directory, "real.parquet")

    @property
    def validation(self) -> str:
        """File of the validation images."""
        return storage.join(self.directory, "validation.parquet")

    def test(self, name: str) -> str:
        """File of a test set."""
        return storage.join(self.directory, "tests", f"{name}.parquet")

    def patients_known(self, test: str) -> bool:
        """Whether every image of a test set has a patient, and every real one that is trained or validated on."""
        files = (self.real, self.validation, self.test(test))
        return not any(self.read_rows(file, ["patient_id"])["patient_id"].null_count for file in files)

    @staticmethod
    def write(rows: pa.Table, file: str) -> None:
        """Rows of `read_pool`."""
        sink = pa.BufferOutputStream()
        pq.write_table(rows.drop_columns([FILE]), sink)
        storage.write_bytes(file, memoryview(sink.getvalue()))

    @staticmethod
    def read(file: str) -> tuple[list[str], np.ndarray]:
        """N sample ids and (N,) int64 class numbers."""
        rows = Pools.read_rows(file, ["sample_id", "label"])
        return rows["sample_id"].to_pylist(), rows["label"].to_numpy()

    @staticmethod
    def read_rows(file: str, columns: list[str] | None = None) -> pa.Table:
        """All that was written, or these columns."""
        with storage.open_parquet(file) as parquet:
            return parquet.read(columns)


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
    known = pa.array(labels != UNKNOWN)
    named = rows.select(["sample_id", *COLUMNS, FILE]).append_column("label", pa.array(labels, pa.int64()))
    unlabelled = count_rows(result.row_files(), where & pc.field(target.column).is_null())
    return named.filter(known), unlabelled + int((labels == UNKNOWN).sum())
