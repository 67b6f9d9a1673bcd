"""Where a result's rows lie: in Parquet files of its own, and in those of earlier results that it goes on from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
from pyarrow import dataset

from dermray import storage


@dataclass(frozen=True)
class RowFiles:
    """Directories of Parquet files, local or in S3."""

    uri: str  # all rows in these are the result's
    kept: tuple[str, ...] = ()  # earlier results' rows: those with status ok are this one's too

    def scanners(self, columns: list[str], where: Any = None, **how: Any) -> Iterator[dataset.Scanner]:
        """pyarrow's readers of some columns of the rows that a pyarrow dataset filter lets pass, one a directory."""
        ok = pc.field("status") == "ok"
        yield _files(self.uri).scanner(columns=columns, filter=where, **how)
        for uri in self.kept:
            yield _files(uri).scanner(columns=columns, filter=ok if where is None else ok & where, **how)

    def in_ray(self, columns: list[str]) -> Any:
        """The same as a Ray dataset; `columns` must hold status."""
        import ray.data
        from ray.data.expressions import col

        own, *kept = (
            ray.data.read_parquet(path, filesystem=system, columns=columns)
            for system, path in map(storage.filesystem, (self.uri, *self.kept))
        )
        return own.union(*(part.filter(expr=col("status") == "ok") for part in kept)) if kept else own

    def __str__(self) -> str:
        """For messages."""
        return " + ".join([self.uri, *self.kept])


def row_files(rows: str | RowFiles) -> RowFiles:
    """One directory's files, where no more is given."""
    return rows if isinstance(rows, RowFiles) else RowFiles(rows)


def _files(uri: str) -> dataset.Dataset:
    system, path = storage.filesystem(uri)
    return dataset.dataset(path, filesystem=system, format="parquet")
