"""The order in which tuning sees conversations: those of a batch are of about one length, so little is padding.

As `training.order`, from which the shuffling is: a function of (seed, step), whoever asks and wherever a run was
interrupted. A window of batches is taken from the shuffled row of all conversations, sorted by length and cut into
batches, which are shuffled. What is given up: conversations of very different length never share a batch.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from dermray.training.order import Order, Sharding

WINDOW = 64  # batches: among so many the lengths within one differ little, and a window is shuffled within an epoch


class LengthOrder:
    """Which conversations a step shows: every one once an epoch, batches running on over the epoch's end.

    Args:
        conversations: how many, or how they lie in shards. lengths: of the conversations of given numbers, in tokens.
        batch_size: conversations a step, over all workers. window: batches that are sorted together.
    """

    def __init__(
        self,
        conversations: int | Sharding,
        lengths: Callable[[np.ndarray], np.ndarray],
        batch_size: int,
        seed: int,
        window: int = WINDOW,
    ) -> None:
        if batch_size < 1 or window < 1:
            raise ValueError(f"batch_size={batch_size}, window={window}: expected at least 1")
        self.lengths, self.batch_size, self.seed, self.window = lengths, batch_size, seed, window
        self._order = Order([conversations], batch_size * window, seed)
        self._sorted = lru_cache(maxsize=2)(self._sort)

    def share(self, step: int, rank: int = 0, workers: int = 1) -> np.ndarray:
        """Numbers of this worker's conversations in step `step`."""
        share: np.ndarray = self._sorted(step // self.window)[step % self.window][rank::workers]
        return share

    def shards(self, step: int) -> frozenset[int]:
        """Those that are needed for step `step`, or after it."""
        return self._order.shards(step // self.window)[1]

    def _sort(self, number: int) -> np.ndarray:
        """(window, batch_size): the batches of window `number`."""
        _, shuffled = self._order.share(number, 0, 1)
        epochs = self._order.epochs(number, 0, 1)  # a window may run over an epoch's end, and a batch too
        # stable: conversations of one length stay shuffled
        by_length = np.lexsort((self.lengths(shuffled), epochs))
        batches = shuffled[by_length].reshape(self.window, self.batch_size)
        of = epochs[by_length].reshape(self.window, self.batch_size)
        # nothing of the next epoch comes before the last of this: batches are shuffled among those of their own epoch
        draw = np.random.default_rng((self.seed, number, 0, 2)).random(self.window)
        return batches[np.lexsort((draw, of[:, 0] + of[:, -1]))]
