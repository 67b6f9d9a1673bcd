"""Count, mean and scatter of feature vectors, which merge exactly: any number of images takes the memory of few.

Merging is that of Chan, Golub and LeVeque (1983), in float64: the order and the size of blocks change the last digits
only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

CHUNK = 256  # rows of a slot that are added together: each addition goes over D x D numbers


@dataclass(frozen=True)
class Moments:
    """Of N vectors of D numbers."""

    count: int
    mean: np.ndarray  # (D,) float64
    scatter: np.ndarray  # (D, D) float64: sum of the outer products of deviations from the mean

    @classmethod
    def of(cls, features: np.ndarray) -> "Moments":
        """Of (N, D) features, N at least 1."""
        rows = features.astype(np.float64)
        mean = rows.mean(0)
        rows -= mean
        return cls(len(rows), mean, rows.T @ rows)

    def __add__(self, other: "Moments") -> "Moments":
        if not self.count or not other.count:
            return self if self.count else other
        count, step = self.count + other.count, other.mean - self.mean
        between = np.outer(step, step) * (self.count * other.count / count)
        return Moments(count, self.mean + step * (other.count / count), _plus(between, self.scatter, other.scatter))

    def __sub__(self, part: "Moments") -> "Moments":
        """Without some of its vectors, of which at least one is left."""
        if not part.count:
            return self
        count = self.count - part.count
        mean = self.mean + (self.mean - part.mean) * (part.count / count)
        step = mean - part.mean
        between = np.outer(step, step) * (-part.count * count / self.count)
        return Moments(count, mean, _plus(between, self.scatter, -part.scatter))

    @property
    def covariance(self) -> np.ndarray:
        """(D, D), of a sample: over N - 1."""
        return self.scatter / (self.count - 1)


def _plus(total: np.ndarray, *more: np.ndarray) -> np.ndarray:
    for part in more:
        total += part
    return total


def none(width: int) -> Moments:
    """Of no vector."""
    return Moments(0, np.zeros(width), np.zeros((width, width)))


def total(parts: Iterable[Moments]) -> Moments:
    """Of all vectors together; at least one part."""
    first, *others = parts
    for part in others:
        first = first + part
    return first


class Slots:
    """Moments of several parts of a stream of vectors, D x D x 8 bytes each."""

    def __init__(self, count: int, width: int) -> None:
        self._moments = [none(width) for _ in range(count)]
        self._waiting: list[list[np.ndarray]] = [[] for _ in range(count)]

    def add(self, features: np.ndarray, slots: np.ndarray) -> None:
        """Some more.

        Args:
            features: (N, D). slots: (N,) the part that each belongs to.
        """
        for slot in np.unique(slots):
            waiting = self._waiting[slot]
            waiting.append(features[slots == slot])
            if sum(map(len, waiting)) >= CHUNK:
                self._settle(slot)

    def moments(self) -> list[Moments]:
        """Of each part, of all that was added."""
        for slot in range(len(self._moments)):
            self._settle(slot)
        return list(self._moments)

    def _settle(self, slot: int) -> None:
        if self._waiting[slot]:
            self._moments[slot] = self._moments[slot] + Moments.of(np.concatenate(self._waiting[slot]))
            self._waiting[slot] = []
