"""Fewer dimensions to search in: principal components."""

from dataclasses import dataclass

import numpy as np

DIMENSIONS = 64


@dataclass(frozen=True)
class Projection:
    """(N, D) to (N, d) float32."""

    mean: np.ndarray  # (D,)
    basis: np.ndarray  # (D, d), orthonormal columns

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """What is searched for."""
        return np.ascontiguousarray((vectors - self.mean) @ self.basis, np.float32)

    @classmethod
    def fitted(cls, vectors: np.ndarray) -> "Projection":
        """The components (N, D) vary most in."""
        mean = vectors.mean(0, dtype=np.float64)
        centred = vectors - mean
        _, components = np.linalg.eigh(centred.T @ centred)  # ascending
        return cls(mean.astype(np.float32), components[:, ::-1][:, :DIMENSIONS].astype(np.float32))
