"""Where a result's rows lie: in Parquet files of its own, and in those of earlier results that it goes on from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset

from dermray import storage

FILES_TOGETHER = 64
READING_TASKS = 4096  # at most, of a Ray dataset: what a lost one costs is a share of the rows
BATCH = 256  # rows handed on at a time


@dataclass(frozen=True)
class RowFiles:
    """Directories of Parquet files, local or in S3."""

    uri: str  # all rows in these are the result's
    kept: tuple[str, ...] = ()  # earlier results' rows: those with status ok are this one's too

    def files(self) -> list[str]:
        """URIs of all Parquet files. In those of earlier results only rows with status ok count."""
        return [file for uri in (self.uri, *self.kept) for file in storage.list_files(uri, ".parquet")]

    def scanners(self, columns: list[str] | dict[str, Any], where: Any = None, **how: Any) -> Iterator[dataset.Scanner]:
        """pyarrow's readers of some columns of the rows that a dataset filter lets pass, each of some files."""
        ok = pc.field("status") == "ok"
        for files in _datasets(self.uri):
            yield files.scanner(columns=columns, filter=where, **how)
        for uri in self.kept:
            for files in _datasets(uri):
                yield files.scanner(columns=columns, filter=ok if where is None else ok & where, **how)

    def usable_in_ray(self, columns: list[str], order: Callable[[str], Any] = str) -> Any:
        """Rows with status ok as a Ray dataset, file after file as `order` sorts their URIs.

        Args:
            columns: status among them.

        Raises:
            FileNotFoundError: no Parquet file.
        """
        import ray.data

        files = sorted(self.files(), key=order)
        if not files:
            raise FileNotFoundError(f"{self}: no Parquet file there; make the result again")
        listed = ray.data.from_items(files, override_num_blocks=min(len(files), READING_TASKS))
        return listed.map_batches(_usable, fn_args=(columns,), batch_format="pyarrow", batch_size=None)

    def read_in_ray(self, columns: list[str], where: Any) -> Any:
        """Rows that a filter lets pass, by Ray's own reader: a write that goes on leaves out of these what is written,
        and of no rows that Ray does not read from files itself (Ray Data 2.60).

        Args:
            columns: those of the filter among them. where: pyarrow expression that only rows with status ok pass.

        Raises:
            FileNotFoundError: no Parquet file. ValueError: some lie in S3 and some do not.
        """
        import ray.data

        files = self.files()
        if not files:
            raise FileNotFoundError(f"{self}: no Parquet file there; make the result again")
        if len({storage.is_s3(file) for file in files}) > 1:
            raise ValueError(f"{self}: some of these rows lie in S3 and some do not; copy all to one place")
        found = [storage.filesystem(file) for file in files]
        read = ray.data.read_parquet([path for _, path in found], filesystem=found[0][0], columns=columns)
        return read.map_batches(_passing, fn_args=(where,), batch_format="pyarrow", batch_size=None)

    def __str__(self) -> str:
        """For messages."""
        return " + ".join([self.uri, *self.kept])


def row_files(rows: str | RowFiles) -> RowFiles:
    """One directory's files, where no more is given."""
    return rows if isinstance(rows, RowFiles) else RowFiles(rows)


def _usable(files: pa.Table, columns: list[str]) -> Iterator[pa.Table]:
    """These columns of the rows with status ok. Ray's own reader opens each file three times."""
    for file in files["item"].to_pylist():
        with storage.open_parquet(file) as parquet:
            for batch in parquet.iter_batches(BATCH, columns=columns, use_threads=False):
                yield pa.Table.from_batches([batch]).select(columns).filter(pc.field("status") == "ok")


def _passing(rows: pa.Table, where: Any) -> pa.Table:
    return rows.filter(where)


def _datasets(uri: str) -> Iterator[dataset.Dataset]:
    """Files in groups: a dataset keeps what it has parsed of every footer, 140 KB a file of captioned rows."""
    system, _ = storage.parquet_filesystem(uri)
    paths = [storage.filesystem(file)[1] for file in storage.list_files(uri, ".parquet")]
    for start in range(0, len(paths), FILES_TOGETHER):
        yield dataset.dataset(paths[start : start + FILES_TOGETHER], filesystem=system, format="parquet")
