"""Random access to images, encoded ahead or when asked for, and the order in which training sees them.

A batch holds images of one size, one bucket. The order is a function of (seed, epoch) over images sorted by id: it
depends neither on how many shards there are, nor on how many workers share a batch, nor on where a run was interrupted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
import torch
from safetensors.torch import load
from torch import Tensor

from dermray import node_cache, storage
from dermray.generators.base import Generator, Sample
from dermray.training.encode import INDEX, read_index

CAPTIONS_FOR_WORDS = 100_000


class MappedRows:
    """Arrow files of rows with a `sample_id`, mapped into memory. Rows are numbered in the order of their ids."""

    def __init__(self, files: list[Path]) -> None:
        self.table = pa.concat_tables([feather.read_table(file, memory_map=True) for file in files])
        self._order = np.asarray(pc.sort_indices(self.table["sample_id"].combine_chunks()))

    def __len__(self) -> int:
        return len(self._order)

    def sample_ids(self, index: np.ndarray) -> list[str]:
        """The ids of rows `index`."""
        return [str(i) for i in self._take("sample_id", index)]

    def _take(self, column: str, index: np.ndarray) -> list[Any]:
        values = self.table[column]
        return [values[number].as_py() for number in self._order[index].tolist()]  # `take` would copy all shards


class EncodedImages(MappedRows):
    """A bucket of training.encode.

    Args:
        shards: of it the first so many only, if not all.
    """

    def __init__(self, directory: str, shards: int | None = None) -> None:
        about = read_index(directory)
        self.image_size: int = about["image_size"]
        super().__init__(node_cache.local_files(directory, about["shards"][:shards]))

    def pixels(self, index: np.ndarray) -> Tensor:
        """(B, 3, S, S) uint8."""
        return pixels_of(self._take("pixels", index), self.image_size)

    def captions(self, index: np.ndarray) -> list[str]:
        """The captions of images `index`."""
        return [str(c) for c in self._take("caption", index)]

    def samples(self, generator: Generator, index: np.ndarray, turned: bool) -> list[Sample]:
        """Images `index` as the generator's frozen parts encode them now."""
        pixels = self.pixels(index)
        device = next(generator.parameters()).device
        return generator.encode((turn(pixels) if turned else pixels).to(device), self.captions(index))


class EncodedSamples(MappedRows):
    """A bucket of training.precompute.

    Args:
        cache: the directory or s3:// prefix of its files.
    """

    def __init__(self, cache: str, names: list[str]) -> None:
        super().__init__(node_cache.local_files(cache, names))

    def samples(self, generator: Generator, index: np.ndarray, turned: bool) -> list[Sample]:
        """Images `index` as they were encoded, on the generator's device."""
        assert not turned, "what was encoded ahead has one orientation"
        device = next(generator.parameters()).device
        found = [load(data) for data in self._take("encoded", index)]
        return [{name: value.to(device) for name, value in sample.items()} for sample in found]


Bucket = EncodedImages | EncodedSamples


@dataclass
class Source:
    """Where buckets lie. It travels to Ray workers.

    Args:
        encoded: target of training.encode. cache, files: of training.precompute, by bucket, if it ran.
    """

    encoded: str
    cache: str = ""
    files: list[list[str]] = field(default_factory=list)

    def open(self) -> Sequence[Bucket]:
        """The buckets, small images first."""
        if self.files:
            return [EncodedSamples(self.cache, names) for names in self.files]
        return buckets(self.encoded)


def pixels_of(data: list[bytes], size: int) -> Tensor:
    """(B, 3, S, S) uint8 of a shard's pixels."""
    return torch.from_numpy(np.frombuffer(b"".join(data), np.uint8).reshape(len(data), 3, size, size).copy())


def turn(images: Tensor) -> Tensor:
    """A batch in one random of the eight orientations of a square."""
    turned = torch.rot90(images, int(torch.randint(4, ())), (2, 3))
    return turned.flip(3) if int(torch.randint(2, ())) else turned


def directories(encoded: str) -> dict[str, int]:
    """Of the buckets that training.encode wrote, small images first, and how many images each has."""
    sizes = json.loads(storage.read_bytes(storage.join(encoded, INDEX)))
    return {storage.join(encoded, size): sizes[size] for size in sorted(sizes, key=int)}


def buckets(encoded: str) -> list[EncodedImages]:
    """What training.encode wrote, small images first."""
    return [EncodedImages(directory) for directory in directories(encoded)]


def captions_for_words(kind: type[Generator], config: Any, encoded: str) -> list[str]:
    """The captions that a new tokenizer's words are taken from; none where the base model brings its own."""
    if not kind.makes_words(config):
        return []
    return [c for images in buckets(encoded) for c in images.captions(np.arange(min(len(images), CAPTIONS_FOR_WORDS)))]


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
