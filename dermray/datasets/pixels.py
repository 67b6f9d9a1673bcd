"""Pixels of rows that were picked, without holding their encoded images too."""

import numpy as np
import pyarrow as pa

from dermray.datasets.decode import decode, square
from dermray.picked import images


def pixels(picked: pa.Table, size: int) -> np.ndarray:
    """(N, 3, S, S) uint8, in the order of a table of `picked.pick`; its side S in px."""
    found = np.empty((len(picked), 3, size, size), np.uint8)
    for place, image in images(picked):
        found[place] = square(decode(image), size)
    return found
