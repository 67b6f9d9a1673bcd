"""Which cell each request of a plan is of: said of any number by itself, and mixed, so that blocks hold all cells."""

import math
from dataclasses import dataclass

import numpy as np

GOLDEN = (5**0.5 - 1) / 2  # steps of this share of a circle come near to no earlier place for longest


@dataclass(frozen=True)
class Deal:
    """Requests given to cells.

    Args:
        counts: (cells,) int64, requests of each. in_turns: one cell after the other, as long as all have equally many;
            a plan of more images then begins with the shorter one. seed: of where dealing begins otherwise.
    """

    counts: np.ndarray
    in_turns: bool
    seed: int = 0

    def __len__(self) -> int:
        """Requests."""
        return int(self.counts.sum())

    def places(self, numbers: range) -> tuple[np.ndarray, np.ndarray]:
        """Cell of each of these requests, and its number within the cell; both (N,) int64."""
        asked = np.arange(numbers.start, numbers.stop, dtype=np.int64)
        if self.in_turns:
            rank, cell = np.divmod(asked, len(self.counts))
            return cell, rank
        ends, total = np.cumsum(self.counts), len(self)
        first = int(np.random.default_rng(self.seed).integers(total))
        place = (first + asked * _step(total)) % total  # each place once: step and total have no common factor
        cell = np.searchsorted(ends, place, "right")
        return cell, place - (ends - self.counts)[cell]


def _step(total: int) -> int:
    """Near to the golden section of `total`, and without a common factor."""
    step = max(1, round(total * GOLDEN))
    while math.gcd(step, total) != 1:
        step += 1
    return step
