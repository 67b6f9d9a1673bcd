"""Random access to encoded images, and the order in which training sees them.

The order is a function of (seed, epoch) over images sorted by id: it depends neither on how many shards there
are, nor on how many workers share a batch, nor on where a run was interrupted.
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
    """The shards of training.encode, mapped into memory. Images are numbered in the order of their ids."""

    def __init__(self, directory: str) -> None:
        local: Path = storage.local_copy(directory, storage.cache())
        about = json.loads((local / INDEX).read_text())
        self.image_size: int = about["image_size"]
        self.shards: list[str] = about["shards"]
        tables = [feather.read_table(local / name, memory_map=True) for name in self.shards]
        self.table = pa.concat_tables(tables)
        ids = self.table["sample_id"].combine_chunks()
        self._order = np.asarray(pc.sort_indices(ids))

    def __len__(self) -> int:
        return len(self._order)

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


def captions_for_words(images: EncodedImages) -> list[str]:
    """The captions that a new tokenizer's words are taken from."""
    return images.captions(np.arange(min(len(images), CAPTIONS_FOR_WORDS)))


@lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(count)."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def share_of_step(count: int, seed: int, step: int, batch_size: int, rank: int, workers: int) -> np.ndarray:
    """Image numbers of this worker at this step: every image once an epoch, batches running on over its end."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)[rank::workers]
    return np.array([epoch_order(count, seed, int(p // count))[p % count] for p in positions])
