"""The order in which training sees images: a function of (seed, epoch) and of the shards that an index lists.

It depends neither on how many workers share a batch nor on where a run was interrupted. A batch holds images of one
size, one bucket.

An epoch of a bucket runs through windows: its shards in a random order, cut into groups, and the images of a group in a
random order together. All workers walk through the same window at the same time, so a node needs the shards of one
window, and of the next to have them in time, and not the whole bucket. A bucket that fits into one window is shuffled
as a whole.

What is given up by windows: images that share a shard are seen within the same part of every epoch. Shards are made of
the rows' files in a random order (`encode`), but rows that lay in one file, up to some hundred neighbours of a source,
mostly share one. A window is of 64 shards drawn anew each epoch, so the mean of its labels strays about as that of 64
such files would, and not as that of as many single images.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True, eq=False)
class Sharding:
    """How a bucket's images lie.

    Args:
        rows: images in each shard. window: images that are shuffled together, at most and but for a shard.
    """

    rows: tuple[int, ...]
    window: int

    @property
    def count(self) -> int:
        """Images."""
        return sum(self.rows)

    @property
    def windows(self) -> int:
        """Into how many an epoch is cut, all of about one size."""
        return -(-self.count // self.window)


class Order:
    """Which images a step shows: every image of a bucket once an epoch, its batches running on over the epoch's end.

    Images of a bucket are numbered shard after shard.

    Args:
        buckets: how the images of each lie; a number is so many in one window. batch_size: images a step, over all
            workers.
    """

    def __init__(self, buckets: Sequence[int | Sharding], batch_size: int, seed: int) -> None:
        self.buckets = [Sharding((bucket,), bucket) if isinstance(bucket, int) else bucket for bucket in buckets]
        self.counts, self.batch_size, self.seed = [bucket.count for bucket in self.buckets], batch_size, seed

    def share(self, step: int, rank: int, workers: int) -> tuple[int, np.ndarray]:
        """The bucket of step `step`, and the numbers of this worker's images in it."""
        bucket, first, end = self._positions(step)
        parts = list[np.ndarray]()
        for window in self._windows_from(bucket, first):
            if window.begins >= end:
                break
            images = _images(self.buckets[bucket], self.seed, window.epoch, window.number)
            parts.append(images[max(first - window.begins, 0) : end - window.begins])
        return bucket, np.concatenate(parts)[rank::workers]

    def epochs(self, step: int, rank: int, workers: int) -> np.ndarray:
        """Of each image of `share`, how often its bucket was seen before."""
        bucket, first, end = self._positions(step)
        epochs: np.ndarray = np.arange(first, end)[rank::workers] // self.counts[bucket]
        return epochs

    def shards(self, step: int) -> tuple[int, frozenset[int]]:
        """The bucket of step `step`, and the shards in it that are needed now or next: those of the windows that the
        batch takes images from, and where that is one, of the window after it."""
        bucket, first, end = self._positions(step)
        needed = set[int]()
        for passed, window in enumerate(self._windows_from(bucket, first)):
            if passed >= 2 and window.begins >= end:
                break
            needed |= set(window.shards)
        return bucket, frozenset(needed)

    def _positions(self, step: int) -> tuple[int, int, int]:
        """A step's bucket, and where its batch begins and ends in that bucket's endless row of images."""
        bucket, batch = self._batch(step)
        return bucket, batch * self.batch_size, (batch + 1) * self.batch_size

    def _windows_from(self, bucket: int, position: int) -> Iterator["Window"]:
        """The window that a position lies in, and those after it, without end."""
        count = self.counts[bucket]
        for epoch in itertools.count(position // count):
            for window in _windows(self.buckets[bucket], self.seed, epoch):
                if window.begins + window.images > position:
                    yield window

    def _batch(self, step: int) -> tuple[int, int]:
        """A step's bucket, and how many batches of that bucket came before."""
        if len(self.counts) == 1:
            return 0, step
        epoch = step * self.batch_size // sum(self.counts)  # or a later one: batches are whole, epochs need not be
        while sum(self._batches(epoch + 1)) <= step:
            epoch += 1
        before = self._batches(epoch)
        now = tuple(then - so_far for then, so_far in zip(self._batches(epoch + 1), before, strict=True))
        chosen = _mixed(now, self.seed, epoch)[: step - sum(before) + 1]
        return int(chosen[-1]), before[chosen[-1]] + int((chosen[:-1] == chosen[-1]).sum())

    def _batches(self, epochs: int) -> list[int]:
        """Whole batches of each bucket in so many epochs."""
        return [count * epochs // self.batch_size for count in self.counts]


@lru_cache(maxsize=2)
def _mixed(batches: tuple[int, ...], seed: int, epoch: int) -> np.ndarray:
    """The buckets of an epoch's batches, in their order; `batches` says how many each has."""
    return np.random.default_rng((seed, epoch)).permutation(np.repeat(np.arange(len(batches)), batches))


class Window(NamedTuple):
    """A part of an epoch of a bucket."""

    epoch: int
    number: int
    shards: tuple[int, ...]
    begins: int  # position of its first image in the bucket's endless row
    images: int


@lru_cache(maxsize=8)
def _windows(bucket: Sharding, seed: int, epoch: int) -> list[Window]:
    """Of an epoch."""
    rows = np.array(bucket.rows)
    shards = np.random.default_rng((seed, epoch, 0, 1)).permutation(len(rows))
    starts = np.cumsum(rows[shards]) - rows[shards]
    window = starts * bucket.windows // rows.sum()  # a shard belongs to the window that its first image falls in
    groups = [np.sort(group) for group in np.split(shards, np.flatnonzero(np.diff(window)) + 1)]
    images = [int(rows[group].sum()) for group in groups]
    begins = itertools.accumulate(images, initial=epoch * int(rows.sum()))
    cut = enumerate(zip(groups, begins, images, strict=False))
    return [Window(epoch, number, tuple(group.tolist()), *where) for number, (group, *where) in cut]


@lru_cache(maxsize=8)
def _images(bucket: Sharding, seed: int, epoch: int, window: int) -> np.ndarray:
    """Numbers of the images of a window, in their order."""
    rows = np.array(bucket.rows)
    first = np.cumsum(rows) - rows
    shards = _windows(bucket, seed, epoch)[window].shards
    numbers = np.concatenate([np.arange(first[shard], first[shard] + rows[shard]) for shard in shards])
    # numpy takes (seed, epoch, 0) for (seed, epoch): one window is in the order that there was before windows
    shuffled: np.ndarray = np.random.default_rng((seed, epoch, window)).permutation(numbers)
    return shuffled
