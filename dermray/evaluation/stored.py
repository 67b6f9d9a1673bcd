"""Stored features of one kind of images, read a block at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.columns import batches
from dermray.evaluation.extraction import PARTS

BUCKETS, REST = 1 << 16, np.uint64(48)  # of the keys' first 16 bits


@dataclass(frozen=True)
class Stored:
    """The rows below a directory that `extraction.extract` wrote, or one group of them."""

    uri: str
    extractor: int = 0  # number
    attribute: str | None = None  # of the group
    group: str | None = None

    def of(self, attribute: str, group: str) -> "Stored":
        """One group alone."""
        return replace(self, attribute=attribute, group=group)

    def blocks(self, *columns: str) -> Iterator[dict[str, np.ndarray]]:
        """These columns of usable rows, some rows at a time; vectors as (n, D)."""
        where, read = pc.field("status") == "ok", ["status", *columns]
        if self.attribute is not None:
            where, read = where & (pc.field(self.attribute) == self.group), [*read, self.attribute]
        for batch in batches(self.uri, list(dict.fromkeys(read)), where):
            if batch.num_rows:
                yield {name: _array(batch[name]) for name in columns}

    def groups(self, attribute: str) -> list[str]:
        """Names of an attribute's groups, sorted."""
        found = set[str]()
        for block in self.blocks(attribute):
            found.update(name for name in block[attribute].tolist() if name is not None)
        return sorted(found)

    @cached_property
    def _histogram(self) -> np.ndarray:
        """(2, BUCKETS) how many keys of each half begin with each of the first bits."""
        found = np.zeros(2 * BUCKETS, np.int64)
        for block in self.blocks("key", "part"):
            bucket = (block["key"] >> REST).astype(np.int64) + BUCKETS * (block["part"] // PARTS).astype(np.int64)
            found += np.bincount(bucket, minlength=2 * BUCKETS)
        return found.reshape(2, BUCKETS)

    def count(self, half: int | None = None) -> int:
        """Of all rows, or of the first (0) or second (1) half."""
        return int(self._of(half).sum())

    def _of(self, half: int | None) -> np.ndarray:
        found: np.ndarray = self._histogram.sum(0) if half is None else self._histogram[half]
        return found

    def limit(self, count: int, half: int | None = None) -> np.uint64:
        """The `count`-th smallest key, in memory that does not grow with the rows.

        Args:
            count: 1 to `self.count(half)`.
        """
        below = self._of(half).cumsum()
        bucket = int(np.searchsorted(below, count))
        keys = [self._keys_in(block, bucket, half) for block in self.blocks("key", "part")]
        place = count - 1 - (int(below[bucket - 1]) if bucket else 0)
        return np.uint64(np.partition(np.concatenate(keys), place)[place])

    @staticmethod
    def _keys_in(block: dict[str, np.ndarray], bucket: int, half: int | None) -> np.ndarray:
        chosen = block["key"] >> REST == bucket
        if half is not None:
            chosen &= block["part"] // PARTS == half
        return block["key"][chosen]

    @property
    def features(self) -> str:
        """Name of the column."""
        return f"features_{self.extractor}"

    @property
    def logits(self) -> str:
        """Name of the column, where the extractor has classes."""
        return f"logits_{self.extractor}"

    def least(self, count: int, half: int | None = None) -> np.ndarray:
        """(count, D) features of the rows with the smallest keys, in their order."""
        most, keys, found = self.limit(count, half), [], []
        for block in self.blocks("key", "part", self.features):
            wanted = block["key"] <= most
            if half is not None:
                wanted &= block["part"] // PARTS == half
            keys.append(block["key"][wanted])
            found.append(block[self.features][wanted])
        return np.concatenate(found)[np.argsort(np.concatenate(keys), kind="stable")]


def _array(column: pa.Array) -> Any:
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    return column.to_numpy(zero_copy_only=False)
