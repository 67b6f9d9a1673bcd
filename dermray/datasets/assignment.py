"""What grouping and splitting gave each row, 15 bytes a row: it lies in the object store for every block.

Tasks of a node share it there: numpy's arrays are not copied out of it.
"""

from dataclasses import dataclass, field
from hashlib import sha256
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

    uncompared: int  # near duplicates that were not looked for: pairs of candidates
    facts: dict[str, Any] = field(default_factory=dict)  # of what joined rows, for the manifest

    @classmethod
    def of(
        cls, table: pa.Table, usable: np.ndarray, groups: np.ndarray, splits: np.ndarray, reasons: np.ndarray,
        why: list[str], uncompared: int, facts: dict[str, Any],
    ) -> "Assignment":  # fmt: skip
        """Of the rows of `table`, with groups and splits of those that are `usable`, and reasons of all."""
        names = np.concatenate([hashes(joined(batch, NAME)) for batch in table.select(NAME).to_batches(1 << 14)])
        order, group, split = np.argsort(names), np.full(len(table), NONE, np.int32), np.full(len(table), NONE, np.int8)
        group[usable], split[usable] = groups, splits
        return cls(names[order], group[order], split[order], reasons[order], tuple(why), uncompared, facts)

    def digest(self) -> str:
        """A name for all that it says."""
        found = sha256(repr(self.why).encode())
        for values in (self.names, self.groups, self.splits, self.reasons):
            found.update(np.ascontiguousarray(values).data)
        return found.hexdigest()[:24]

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
