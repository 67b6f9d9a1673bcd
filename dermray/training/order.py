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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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
        bucket, batch = self._batch(step)
        positions = np.arange(batch * self.batch_size, (batch + 1) * self.batch_size)[rank::workers]
        return bucket, np.array([self._number(bucket, position) for position in positions.tolist()])

    def shards(self, step: int) -> tuple[int, frozenset[int]]:
        """The bucket of step `step`, and the shards in it that are needed now or next: those of the windows that the
        batch takes images from, and where that is one, of the window after it."""
        bucket, batch = self._batch(step)
        position, end, windows, needed = batch * self.batch_size, (batch + 1) * self.batch_size, 0, list[int]()
        while windows < 2 or position < end:
            epoch, window, within = self._place(bucket, position)
            shards, starts = _windows(self.buckets[bucket], self.seed, epoch)
            needed += shards[window].tolist()
            position, windows = position - within + int(starts[window + 1] - starts[window]), windows + 1
        return bucket, frozenset(needed)

    def _number(self, bucket: int, position: int) -> int:
        epoch, window, within = self._place(bucket, position)
        return int(_images(self.buckets[bucket], self.seed, epoch, window)[within])

    def _place(self, bucket: int, position: int) -> tuple[int, int, int]:
        """Epoch, window and place in it of a position in a bucket's endless row of images."""
        epoch, rest = divmod(position, self.counts[bucket])
        _, starts = _windows(self.buckets[bucket], self.seed, epoch)
        window = int(starts.searchsorted(rest, side="right")) - 1
        return epoch, window, rest - int(starts[window])

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


@lru_cache(maxsize=8)
def _windows(bucket: Sharding, seed: int, epoch: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The shards of each window of an epoch, and the position in the epoch where it begins; last, where all end."""
    rows = np.array(bucket.rows)
    shards = np.random.default_rng((seed, epoch, 0, 1)).permutation(len(rows))
    starts = np.cumsum(rows[shards]) - rows[shards]
    window = starts * bucket.windows // rows.sum()  # a shard belongs to the window that its first image falls in
    groups = [np.sort(group) for group in np.split(shards, np.flatnonzero(np.diff(window)) + 1)]
    return groups, np.cumsum([0, *(rows[group].sum() for group in groups)])


@lru_cache(maxsize=8)
def _images(bucket: Sharding, seed: int, epoch: int, window: int) -> np.ndarray:
    """Numbers of the images of a window, in their order."""
    rows = np.array(bucket.rows)
    first = np.cumsum(rows) - rows
    shards, _ = _windows(bucket, seed, epoch)
    numbers = np.concatenate([np.arange(first[shard], first[shard] + rows[shard]) for shard in shards[window]])
    # numpy takes (seed, epoch, 0) for (seed, epoch): one window is in the order that there was before windows
    shuffled: np.ndarray = np.random.default_rng((seed, epoch, window)).permutation(numbers)
    return shuffled
