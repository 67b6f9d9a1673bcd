"""Random access to images, encoded ahead or when asked for."""

import json
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
import torch
from safetensors.torch import load
from torch import Tensor

from dermray import s3, storage
from dermray.generators.base import Generator
from dermray.training.aspects import sides
from dermray.training.caption_cache import CaptionCache
from dermray.training.encode import INDEX, Index, read_index
from dermray.training.order import Sharding
from dermray.training.read_batch import ImageBatch, SampleBatch
from dermray.training.several_captions import choose, counted, texts_of
from dermray.training.shards import Shards

CAPTIONS_FOR_WORDS = 100_000


class MappedRows:
    """Shards of rows with a `sample_id`, mapped into memory.

    Where one window of the order holds them all, they are all open and rows are numbered in the order of their ids.
    Else they are numbered shard after shard, and a shard is opened when a row of it is asked for.

    Args:
        index: of the bucket; an older one does not say how many rows a shard has.
    """

    def __init__(self, directory: str, names: list[str], index: Index) -> None:
        self._shards = Shards(directory, names)
        rows = index["rows"] or [len(shard) for shard in self._all()]
        self.sharding = Sharding(tuple(rows), index["window"] or sum(rows))
        self._starts = np.cumsum([0, *rows])
        self._kept: Collection[int] = ()
        self._by_id: np.ndarray | None = None
        if self.sharding.windows == 1:
            ids = pa.chunked_array([chunk for shard in self._all() for chunk in shard["sample_id"].chunks])
            self._by_id = np.asarray(pc.sort_indices(ids.combine_chunks())).astype(np.int64)

    def __len__(self) -> int:
        return self.sharding.count

    def sample_ids(self, index: np.ndarray) -> list[str]:
        """The ids of rows `index`."""
        return [str(i) for i in self._take("sample_id", index)]

    def keep(self, shards: Collection[int]) -> None:
        """Begin to open these shards and let go of the others, where not all are open anyway."""
        if self._by_id is None and shards != self._kept:
            self._shards.keep(shards)
            self._kept = shards

    def keep_for(self, index: np.ndarray) -> None:
        """`keep` for rows `index`."""
        self.keep(frozenset(self._shard_of(index).tolist()))

    def in_turn(self) -> Iterator[np.ndarray]:
        """The numbers of all rows, in parts for which one shard is enough."""
        for numbers in np.split(np.arange(len(self)), self._starts[1:-1]):
            self.keep_for(numbers)
            yield numbers

    def _all(self) -> list[pa.Table]:
        everything = range(len(self._shards))
        self._shards.keep(everything)
        return [self._shards[number] for number in everything]

    def _shard_of(self, places: np.ndarray) -> np.ndarray:
        shards: np.ndarray = self._starts.searchsorted(places, side="right") - 1
        return shards

    def _places(self, index: np.ndarray) -> np.ndarray:
        """Of rows `index` in all shards, one after the other."""
        return index if self._by_id is None else self._by_id[index]

    def _has(self, column: str, index: np.ndarray) -> bool:
        """Whether the shard of the first of rows `index` has a column."""
        [shard] = self._shard_of(self._places(index[:1])).tolist()
        return column in self._shards[shard].column_names

    def _drawn(self, column: str, index: np.ndarray, seed: int, epochs: np.ndarray | None) -> list[Any]:
        """Of each row `column`, or one of those beside it: which one, its epoch says."""
        first = self._take(column, index)
        if epochs is None or not self._has("more", index):
            return first
        every = [[own, *others] for own, others in zip(first, self._take("more", index), strict=True)]
        rows = zip(every, index.tolist(), epochs.tolist(), strict=True)
        return [texts[choose(seed, number, epoch, len(texts))] for texts, number, epoch in rows]

    def _take(self, column: str, index: np.ndarray) -> list[Any]:
        """One by one: Arrow's own `take` would copy all shards."""
        places = self._places(index)
        shards = self._shard_of(places)
        rows = places - self._starts[shards]
        columns = {shard: self._shards[shard][column] for shard in set(shards.tolist())}
        return [columns[shard][row].as_py() for shard, row in zip(shards.tolist(), rows.tolist(), strict=True)]


class EncodedImages(MappedRows):
    """A bucket of training.encode.

    Args:
        shards: of it the first so many only, if not all.
    """

    def __init__(self, directory: str, shards: int | None = None) -> None:
        index = read_index(directory)
        self.image_size = index["image_size"]
        rows = index["rows"] and index["rows"][:shards]
        super().__init__(directory, index["shards"][:shards], index | {"rows": rows})

    def pixels(self, index: np.ndarray) -> Tensor:
        """(B, 3, H, W) uint8."""
        return pixels_of(self._take("pixels", index), self.image_size)

    def captions(self, index: np.ndarray) -> list[str]:
        """The captions of images `index`."""
        return [str(c) for c in self._take("caption", index)]

    def read(self, index: np.ndarray, seed: int = 0, epochs: np.ndarray | None = None) -> ImageBatch:
        """Images `index`, with the captions that they show in `epochs`; with their first where none are given."""
        return ImageBatch(self.pixels(index), self._drawn("caption", index, seed, epochs))


class EncodedSamples(MappedRows):
    """A bucket of training.precompute.

    Args:
        cache: the directory or s3:// prefix of its files. index: of the images that they were made from.
    """

    def __init__(self, cache: str, names: list[str], index: Index) -> None:
        super().__init__(cache, names, index)
        self._captions = CaptionCache(cache)

    def read(self, index: np.ndarray, seed: int = 0, epochs: np.ndarray | None = None) -> SampleBatch:
        """Images `index` as they were encoded, each with the caption of its epoch, or its first."""
        if not self._has("caption", index):  # it is in there
            return SampleBatch([load(data) for data in self._drawn("encoded", index, seed, epochs)])
        encoded = [load(data) for data in self._take("encoded", index)]
        captions = self._captions.read(self._drawn("caption", index, seed, epochs))
        encoded = [image | caption for image, caption in zip(encoded, captions, strict=True)]
        return SampleBatch(encoded)


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
            indices = map(read_index, directories(self.encoded))
            return [EncodedSamples(self.cache, *both) for both in zip(self.files, indices, strict=True)]
        return buckets(self.encoded)


def pixels_of(data: list[bytes], size: int | str) -> Tensor:
    """(B, 3, H, W) uint8 of a shard's pixels; size: px of a side, or WIDTHxHEIGHT."""
    width, height = sides(size)
    return torch.from_numpy(np.frombuffer(b"".join(data), np.uint8).reshape(len(data), 3, height, width).copy())


def directories(encoded: str) -> dict[str, int]:
    """Of the buckets that training.encode wrote, small images first, and how many images each has."""
    sizes = json.loads(storage.read_bytes(storage.join(encoded, INDEX)))
    return {storage.join(encoded, size): sizes[size] for size in sorted(sizes, key=sides)}


def buckets(encoded: str) -> list[EncodedImages]:
    """What training.encode wrote, small images first."""
    return [EncodedImages(directory) for directory in directories(encoded)]


def captions_for_words(kind: type[Generator], config: Any, encoded: str) -> list[str]:
    """The captions that a new tokenizer's words are taken from; none where the base model brings its own."""
    if not kind.makes_words(config):
        return []
    return [caption for directory in directories(encoded) for caption in _captions(directory)]


def all_captions(encoded: str) -> Iterator[list[str]]:
    """Of every image that training.encode wrote, shard by shard. Pixels are not read."""
    for directory in directories(encoded):
        for shard in read_index(directory)["shards"]:
            yield list(texts_of(_columns(storage.join(directory, shard), ["caption", "more"])))


def _captions(bucket: str) -> list[str]:
    """The first so many by id of a window's worth of shards or more. Of a shard its captions alone are read."""
    index, tables, rows = read_index(bucket), list[pa.Table](), 0
    least = max(CAPTIONS_FOR_WORDS, index["window"] or sys.maxsize)
    for shard in index["shards"]:
        if rows < least:
            tables.append(_columns(storage.join(bucket, shard), ["sample_id", "caption", "more"]))
            rows += len(tables[-1])
    first = pa.concat_tables(tables).sort_by("sample_id").slice(0, CAPTIONS_FOR_WORDS)
    return list(texts_of(first))


def caption_counts(encoded: str) -> dict[int, int]:
    """Images by the number of their captions, where they have several."""
    shards = ((directory, shard) for directory in directories(encoded) for shard in read_index(directory)["shards"])
    return counted(_columns(storage.join(*where), ["more"]) for where in shards)


def _columns(shard: str, columns: list[str]) -> pa.Table:
    """Those of these that a shard has."""
    system, path = storage.filesystem(shard)

    def read() -> pa.Table:
        with system.open_input_file(path) as file:
            there = pa.ipc.open_file(file).schema.names
            file.seek(0)
            return feather.read_table(file, [name for name in columns if name in there], memory_map=False)

    return s3.again(read)
