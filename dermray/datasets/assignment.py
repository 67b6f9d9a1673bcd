"""What grouping and splitting gave each row, 15 bytes a row: it lies in the object store for every block."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.exactly_once import hashes, joined
from dermray.records import SPLITS

NAME = ("source", "source_id")
NONE = -1


@dataclass(frozen=True)
class Assignment:
    """In the order of `names`."""

    names: np.ndarray  # (N,) uint64, sorted: hashes of the rows' names
    groups: np.ndarray  # (N,) int32; NONE for a row without
    splits: np.ndarray  # (N,) int8, places in SPLITS; NONE for a row without
    reasons: np.ndarray  # (N,) int16, places in `why` of what a row is rejected for; NONE keeps its status
    why: tuple[str, ...]

    @classmethod
    def of(cls, table: pa.Table, rows: list[dict[str, Any]]) -> "Assignment":
        """Of `rows` with group (a number, or none), split, status and reason, which are the rows of `table`.

        A reason is kept of those that are usable in `table` and were rejected since."""
        names = np.concatenate([hashes(joined(batch, NAME)) for batch in table.select(NAME).to_batches(1 << 14)])
        order, usable = np.argsort(names), table["status"].to_pylist()
        given = [row["reason"] if status == "ok" else None for row, status in zip(rows, usable, strict=True)]
        why = {reason: place for place, reason in enumerate(dict.fromkeys(reason for reason in given if reason))}
        place = {name: place for place, name in enumerate(SPLITS)}
        groups = np.fromiter((row.get("group", NONE) for row in rows), np.int32, len(rows))
        splits = np.fromiter((place.get(row["split"], NONE) for row in rows), np.int8, len(rows))
        reasons = np.fromiter((why.get(reason, NONE) for reason in given), np.int16, len(rows))
        return cls(names[order], groups[order], splits[order], reasons[order], tuple(why))

    def join(self, table: pa.Table) -> pa.Table:
        """The rows with what they were given."""
        names = hashes(joined(table, NAME))
        places = np.searchsorted(self.names, names)
        assert np.array_equal(self.names.take(places, mode="clip"), names), "a row that was not there before"
        reason = _words(self.why, self.reasons[places])
        given = {
            "leak_group": pc.binary_join_element_wise("g", _known(self.groups[places]).cast(pa.string()), ""),
            "split": _words(SPLITS, self.splits[places]),
            "status": pc.if_else(pc.is_valid(reason), "rejected", table["status"]),
            "reason": pc.coalesce(reason, table["reason"]),
        }
        for name, values in given.items():
            table = table.set_column(table.schema.get_field_index(name), name, values)
        return table


def _known(numbers: np.ndarray) -> pa.Array:
    return pa.array(numbers, mask=numbers == NONE)


def _words(words: tuple[str, ...], places: np.ndarray) -> pa.Array:
    return pa.array(words, pa.string()).take(_known(places))
