"""Images decoded and resized once, for any number of trainings: uint8 pixels in files on each node's disk.

    <store>/<S>px-v<version>/<name>.npy      (N, 3, S, S) uint8, about SHARD_BYTES
    <store>/<S>px-v<version>/<name>.ids.npy  (N,) uint64, numbers of their sample ids; written last: without it no shard

`name` is a hash of the sample ids, which are hashes of the images: content, size and version say what pixels are, so
runs of any rows may share a store, one run fills in what another lacks, and the same shard is written twice at worst.
A store in S3 is copied to each node's disk, shard by shard as they are needed, once for all its processes
(`node_cache`).

Batches are read with `pread`, image by image. What was read stays in the system's cache for all processes of the node,
as that of a file mapped into memory would, but is not counted as theirs: Linux maps up to 2 MiB around an image at
once, so that a process which reads a mapped store of 660 MiB at random soon holds 660 MiB.
"""

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dermray import node_cache, storage
from dermray.datasets.pixels import pixels as decoded
from dermray.picked import FILE
from dermray.progress import files_written, watched

VERSION = 1  # of what `datasets.decode` and `square` make of an image's bytes
SHARD_BYTES = 64 << 20
COPIES_AT_ONCE = 4
PIXELS, IDS = ".npy", ".ids.npy"


def numbers(sample_ids: list[str]) -> np.ndarray:
    """(N,) uint64: the first 64 bits of each, a SHA-256 in hex. Two of 10^7 images share them with a chance of 3e-6."""
    return np.fromiter((int(each[:16], 16) for each in sample_ids), np.uint64, len(sample_ids))


def fill(store: str, size: int, picked: pa.Table, shard_bytes: int = SHARD_BYTES) -> "PixelStore":
    """Add the images that a store lacks, by Ray Data; a killed fill goes on with the shards that are missing.

    Args:
        picked: rows of `picked.pick`, or several such tables joined. size: px a side.
        shard_bytes: of pixels; what a task holds at a time, twice.

    Raises:
        ValueError, FileNotFoundError: an image is missing, or has changed since it was picked.
    """
    directory = _directory(store, size)
    there = PixelStore(directory)
    missing = picked.select(["sample_id", FILE]).filter(pa.array(~there.has(picked["sample_id"].to_pylist())))
    missing = missing.group_by("sample_id").aggregate([(FILE, "min")]).rename_columns(["sample_id", FILE])
    if len(missing) == 0:
        return there
    import ray.data

    storage.make_directory(directory)
    ordered = missing.sort_by([(FILE, "ascending"), ("sample_id", "ascending")])  # so that a shard reads few files
    per_shard = max(1, shard_bytes // (3 * size**2))
    parts = [ordered.slice(start, per_shard).combine_chunks() for start in range(0, len(ordered), per_shard)]
    blocks = ray.data.from_arrow(parts)
    with watched(files_written(directory, IDS, f"shards of {size} px written")):
        blocks.map_batches(_write, fn_args=(directory, size), batch_format="pyarrow", batch_size=None).take_all()
    filled = PixelStore(directory)
    filled.rows(picked["sample_id"].to_pylist())
    return filled


def _directory(store: str, size: int) -> str:
    return storage.join(storage.normalise(store), f"{size}px-v{VERSION}")


def _write(part: pa.Table, directory: str, size: int) -> pa.Table:
    """A shard of a part's images. To be run in a task."""
    ids = part["sample_id"].to_pylist()
    name = hashlib.sha256("".join(ids).encode()).hexdigest()[:20]
    write_shard(directory, name, numbers(ids), decoded(part, size))
    return pa.table({"shard": [name]})


def write_shard(directory: str, name: str, ids: np.ndarray, pixels: np.ndarray) -> None:
    """Pixels (N, 3, S, S) uint8, then the numbers of their ids (N,) uint64."""
    for suffix, values in ((PIXELS, pixels), (IDS, ids)):
        buffer = io.BytesIO()
        np.save(buffer, values)
        storage.write_bytes(storage.join(directory, name + suffix), buffer.getbuffer())


class PixelStore:
    """Images of one size, by row numbers that hold as long as nothing is added.

    Made by `fill` or `open`. It travels to other processes as the place it is at, and each reads its node's copy.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        files = storage.list_files(directory, IDS, below=False)
        self.shards = [file.removesuffix(IDS) for file in files]
        with ThreadPoolExecutor(COPIES_AT_ONCE * 4) as pool:
            ids = list(pool.map(lambda file: np.load(io.BytesIO(storage.read_bytes(file))), files))
        self._starts = np.cumsum([0, *map(len, ids)])
        found = np.concatenate([*ids, np.empty(0, np.uint64)])
        self._order = np.argsort(found, kind="stable")
        self._sorted = found[self._order]
        self._files: dict[int, _File] = {}

    @classmethod
    def open(cls, store: str, size: int) -> "PixelStore":
        """What was filled in so far at this size.

        Raises:
            FileNotFoundError: nothing was.
        """
        opened = cls(_directory(store, size))
        if not opened.shards:
            raise FileNotFoundError(f"{opened.directory}: no pixels here; fill the store first")
        return opened

    def __reduce__(self) -> tuple[type["PixelStore"], tuple[str]]:
        return PixelStore, (self.directory,)

    def __len__(self) -> int:
        return len(self._order)

    def has(self, sample_ids: list[str]) -> np.ndarray:
        """(N,) bool: which of these images are in it."""
        return self._found(sample_ids)[1]

    def rows(self, sample_ids: list[str]) -> np.ndarray:
        """(N,) int64: the row of each image.

        Raises:
            KeyError: an image is not in the store.
        """
        places, known = self._found(sample_ids)
        if not known.all():
            lost = sample_ids[int(np.argmin(known))]
            raise KeyError(
                f"{self.directory}: {int((~known).sum())} images are not here, such as {lost}; fill it again"
            )
        rows: np.ndarray = self._order[places]
        return rows

    def _found(self, sample_ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
        wanted = numbers(sample_ids)
        places = np.searchsorted(self._sorted, wanted)
        known = places < len(self._sorted)
        known[known] = self._sorted[places[known]] == wanted[known]
        return places, known

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """(n, 3, S, S) uint8 of rows (n,); copies the shards that this node lacks."""
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        wanted = np.unique(shards)
        self._locate([shard for shard in wanted.tolist() if shard not in self._files])
        found = np.empty((len(rows), *self.shape), np.uint8)
        for shard in wanted.tolist():
            ours = np.flatnonzero(shards == shard)
            self._files[shard].read(found, ours, rows[ours] - self._starts[shard])
        return found

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(3, S, S)."""
        if not self._files:
            self._locate([0])
        return next(iter(self._files.values())).shape

    def _locate(self, shards: list[int]) -> None:
        """Find shards on this node, to which they are copied before where they lie in S3."""
        if not shards:
            return
        with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
            files = list(pool.map(_File.open, [self.shards[shard] + PIXELS for shard in shards]))
        self._files.update(zip(shards, files, strict=True))


class _File(NamedTuple):
    """Where the pixels of a shard are on this node."""

    path: str
    offset: int  # bytes, of the first image
    shape: tuple[int, ...]  # of an image

    @classmethod
    def open(cls, uri: str) -> "_File":
        path = node_cache.local_file(uri)
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, _ = np.lib.format.read_array_header_1_0(file)
            return cls(str(path), file.tell(), shape[1:])

    def read(self, into: np.ndarray, places: np.ndarray, rows: np.ndarray) -> None:
        """Images `rows` of the shard into `places` of an array (n, 3, S, S) uint8."""
        size = int(np.prod(self.shape))
        file = os.open(self.path, os.O_RDONLY)
        try:
            for place, row in zip(places.tolist(), rows.tolist(), strict=True):
                if os.preadv(file, [into[place].data], self.offset + row * size) != size:
                    raise OSError(f"{self.path}: cut short; remove it")
        finally:
            os.close(file)
