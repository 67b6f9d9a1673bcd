"""Random access to encoded images, and the order in which training sees them.

A batch holds images of one size, one bucket. The order is a function of (seed, epoch) over images sorted by id: it
depends neither on how many shards there are, nor on how many workers share a batch, nor on where a run was interrupted.
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
import torch
from torch import Tensor

from dermray import storage
from dermray.training.encode import INDEX

CAPTIONS_FOR_WORDS = 100_000


class EncodedImages:
    """A bucket of training.encode, mapped into memory. Images are numbered in the order of their ids."""

    def __init__(self, directory: str) -> None:
        self._local: Path = storage.local_copy(directory, storage.cache())
        about = json.loads((self._local / INDEX).read_text())
        self.image_size: int = about["image_size"]
        self.shards: list[str] = about["shards"]
        self.table = pa.concat_tables([self.shard(name) for name in self.shards])
        ids = self.table["sample_id"].combine_chunks()
        self._order = np.asarray(pc.sort_indices(ids))

    def __len__(self) -> int:
        return len(self._order)

    def shard(self, name: str) -> pa.Table:
        """One of `shards`."""
        return feather.read_table(self._local / name, memory_map=True)

    def rows(self, index: np.ndarray) -> np.ndarray:
        """Where images `index` stand in the shards, one after another."""
        return np.asarray(self._order[index])

    def pixels(self, index: np.ndarray) -> Tensor:
        """(B, 3, S, S) uint8."""
        return pixels_of(self.table["pixels"].take(pa.array(self.rows(index))), self.image_size)

    def captions(self, index: np.ndarray) -> list[str]:
        """The captions of images `index`."""
        return [str(c) for c in self.table["caption"].take(pa.array(self._order[index])).to_pylist()]

    def sample_ids(self, index: np.ndarray) -> list[str]:
        """The ids of images `index`."""
        return [str(i) for i in self.table["sample_id"].take(pa.array(self._order[index])).to_pylist()]


def pixels_of(column: pa.ChunkedArray, size: int) -> Tensor:
    """(B, 3, S, S) uint8 of a shard's pixels."""
    data = column.to_pylist()
    return torch.from_numpy(np.frombuffer(b"".join(data), np.uint8).reshape(len(data), 3, size, size).copy())


def buckets(encoded: str) -> list[EncodedImages]:
    """What training.encode wrote, small images first."""
    sizes = json.loads(storage.read_bytes(storage.join(encoded, INDEX)))
    return [EncodedImages(storage.join(encoded, size)) for size in sorted(sizes, key=int)]


def captions_for_words(found: list[EncodedImages]) -> list[str]:
    """The captions that a new tokenizer's words are taken from."""
    return [c for images in found for c in images.captions(np.arange(min(len(images), CAPTIONS_FOR_WORDS)))]


@lru_cache(maxsize=8)
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(count)."""
    return np.random.default_rng((seed, epoch)).permutation(count)


class Order:
    """Which images a step shows: every image of a bucket once an epoch, its batches running on over the epoch's end.

    Args:
        counts: images in each bucket. batch_size: images a step, over all workers.
    """

    def __init__(self, counts: list[int], batch_size: int, seed: int) -> None:
        self.counts, self.batch_size, self.seed = counts, batch_size, seed

    def share(self, step: int, rank: int, workers: int) -> tuple[int, np.ndarray]:
        """The bucket of step `step`, and the numbers of this worker's images in it."""
        bucket, batch = self._batch(step)
        count, size = self.counts[bucket], self.batch_size
        positions = np.arange(batch * size, (batch + 1) * size)[rank::workers]
        return bucket, np.array([epoch_order(count, self.seed, int(p // count))[p % count] for p in positions])

    def _batch(self, step: int) -> tuple[int, int]:
        """A step's bucket, and how many batches of that bucket came before."""
        if len(self.counts) == 1:
            return 0, step
        epoch = step * self.batch_size // sum(self.counts)  # or a later one: batches are whole, epochs need not be
        while sum(self._batches(epoch + 1)) <= step:
            epoch += 1
        before = self._batches(epoch)
        chosen = self._mixed(epoch)[: step - sum(before) + 1]
        return int(chosen[-1]), before[chosen[-1]] + int((chosen[:-1] == chosen[-1]).sum())

    def _batches(self, epochs: int) -> list[int]:
        """Whole batches of each bucket in so many epochs."""
        return [count * epochs // self.batch_size for count in self.counts]

    def _mixed(self, epoch: int) -> np.ndarray:
        """The buckets of an epoch's batches, in their order."""
        now = np.subtract(self._batches(epoch + 1), self._batches(epoch))
        return np.random.default_rng((self.seed, epoch)).permutation(np.repeat(np.arange(len(now)), now))
