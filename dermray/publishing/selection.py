"""Which rows of a result leave: those with status ok that the config means, and whose licence lets them."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from dermray import s3, storage
from dermray.picked import FILE
from dermray.publishing.licences import forbids
from dermray.records import SYNTHETIC
from dermray.where import AGE_BAND, Where, rows_where

Part = tuple[str, int, int]  # a file, and the first and the last but one of its chosen rows of a split


@dataclass(frozen=True)
class Selection:
    """What decides; the same in every process."""

    where: Where
    permitted: tuple[str, ...]
    leave_out_forbidden: bool

    def of_file(self, file: str, columns: list[str]) -> pa.Table:
        """The chosen rows of a Parquet file in its order: `columns`, without the image, and where they lie.

        A column that an earlier version of dermray did not write is null.
        """
        table = self.asked_for(file, columns)
        if self.leave_out_forbidden:
            table = table.filter(pc.invert(self.forbidden(table)))
        return table.select([*columns, FILE])

    def asked_for(self, file: str, columns: list[str]) -> pa.Table:
        """The same before licences are looked at, with the columns that this takes."""
        wanted = list(dict.fromkeys([*columns, "status", "licence", *self._where_reads()]))
        table = s3.again(lambda: _read(file, wanted))
        means = rows_where(self.where)
        ok = pc.field("status") == "ok"
        return table.filter(ok if means is None else ok & means)

    def forbidden(self, table: pa.Table) -> pa.Array:
        """Which rows' licence does not let them be handed on."""
        licences = table["licence"].combine_chunks()
        kinds = [name for name in licences.unique().to_pylist() if forbids(name, self.permitted)]
        return pc.is_in(licences, value_set=pa.array(kinds, pa.string()))

    def of_part(self, part: Part, split: str, columns: list[str]) -> pa.Table:
        """Those of a split from the first to the last but one, with where they lie."""
        file, first, end = part
        table = self.of_file(file, list(dict.fromkeys([*columns, "split"])))
        return table.filter(pc.field("split") == split).slice(first, end - first)

    def _where_reads(self) -> list[str]:
        return ["age" if column == AGE_BAND else column for column in self.where]


def _read(file: str, columns: list[str]) -> pa.Table:
    with storage.open_parquet(file) as parquet:
        there = set(parquet.schema_arrow.names)
        table = parquet.read([name for name in columns if name in there], use_threads=False)
        rows = parquet.metadata.num_rows
    for name in columns:
        if name not in there:
            table = table.append_column(SYNTHETIC.field(name), pa.nulls(rows, SYNTHETIC.field(name).type))
    return table.append_column(FILE, pa.repeat(storage.filesystem(file)[1], rows))
