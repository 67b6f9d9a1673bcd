"""The splits that an earlier result gave the same images: what was trained on or tested on stays so."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.columns import batches
from dermray.exactly_once import hashes, joined
from dermray.records import SPLITS

NONE = -1
KEYS = (("source", "source_id"), ("sample_id",))  # an image is known by its name, or by its bytes under another name


@dataclass(frozen=True)
class EarlierSplits:
    """For each of KEYS the sorted hashes of the earlier rows, (N,) uint64, and their places in SPLITS, (N,) int8."""

    by_key: tuple[tuple[np.ndarray, np.ndarray], ...]

    @classmethod
    def read(cls, rows: str) -> "EarlierSplits":
        """Of the usable rows in these Parquet files, 18 bytes a row."""
        columns = list(dict.fromkeys([*sum(KEYS, ()), "split", "status"]))
        found: list[tuple[list[np.ndarray], list[np.ndarray]]] = [([], []) for _ in KEYS]
        for batch in batches(rows, columns, (pc.field("status") == "ok") & pc.field("split").is_valid()):
            splits = places(batch["split"])
            for key, (names, values) in zip(KEYS, found, strict=True):
                names.append(hashes(joined(batch, key)))
                values.append(splits)
        return cls(tuple(_sorted(names, values) for names, values in found))

    def of(self, table: pa.Table) -> np.ndarray:
        """Place in SPLITS of each row, (N,) int8: NONE for new ones; the greater where name and bytes say different."""
        return np.maximum.reduce(
            [_found(hashes(_names(table, key)), *known) for key, known in zip(KEYS, self.by_key, strict=True)]
        )


def places(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(N,) int8 places in SPLITS, NONE for null."""
    return np.asarray(pc.index_in(column, pa.array(SPLITS)).fill_null(NONE)).astype(np.int8)


def _names(table: pa.Table, key: tuple[str, ...]) -> pa.Array:
    return pa.concat_arrays([joined(batch, key) for batch in table.select(list(key)).to_batches(1 << 14)])


def _sorted(names: list[np.ndarray], values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    keys = np.concatenate(names) if names else np.empty(0, np.uint64)
    order = np.argsort(keys)
    return keys[order], (np.concatenate(values) if values else np.empty(0, np.int8))[order]


def _found(wanted: np.ndarray, names: np.ndarray, values: np.ndarray) -> np.ndarray:
    if not len(names):
        return np.full(len(wanted), NONE, np.int8)
    at = np.searchsorted(names, wanted).clip(max=len(names) - 1)
    return np.where(names[at] == wanted, values[at], NONE).astype(np.int8)
