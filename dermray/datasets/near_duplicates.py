"""Images that show the same photograph: a perceptual hash finds candidates, a thumbnail confirms them.

Hashes are cut into bands; only images that share a band are compared (Manku et al. 2007), so the work grows with
the number of look-alikes and not with its square.
"""

from collections import defaultdict
from collections.abc import Iterator

import imagehash
import numpy as np
from PIL import Image

BANDS = 4  # of 16 bits: any two hashes at most 3 bits apart agree in at least one
MAX_BITS = 3
MAX_DIFFERENCE = 6.0  # mean absolute difference of 8 x 8 RGB thumbnails, of 255
CROWD = 1000  # a band shared by more images (a plain background, say) tells nothing


def fingerprint(image: Image.Image) -> tuple[int, bytes]:
    """64-bit perceptual hash, and an 8 x 8 RGB thumbnail (192 bytes)."""
    bits = imagehash.phash(image).hash.flatten()
    value = int("".join("1" if bit else "0" for bit in bits), 2)
    return value, image.resize((8, 8), Image.Resampling.BOX).tobytes()


def near_duplicates(hashes: list[int], thumbnails: list[bytes]) -> Iterator[tuple[int, int]]:
    """Index pairs of near duplicates."""
    pictures = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(thumbnails), -1).astype(np.int16)
    seen: set[tuple[int, int]] = set()
    for band in range(BANDS):
        buckets: dict[int, list[int]] = defaultdict(list)
        for i, value in enumerate(hashes):
            buckets[(value >> (16 * band)) & 0xFFFF].append(i)
        for members in buckets.values():
            if not 1 < len(members) <= CROWD:
                continue
            for pair in _close_pairs(members, hashes, pictures):
                if pair not in seen:
                    seen.add(pair)
                    yield pair


def _close_pairs(members: list[int], hashes: list[int], pictures: np.ndarray) -> Iterator[tuple[int, int]]:
    for position, i in enumerate(members):
        for j in members[position + 1 :]:
            if (hashes[i] ^ hashes[j]).bit_count() > MAX_BITS:
                continue
            if np.abs(pictures[i] - pictures[j]).mean() <= MAX_DIFFERENCE:
                yield i, j
