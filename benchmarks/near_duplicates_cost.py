"""What the search for near duplicates takes at 10,000 to 1,000,000 images, and whether it finds those that are there.

    python -m benchmarks.near_duplicates_cost [images ...]

Hashes are made up so that their bands collide as those of real images do: of 1,427 real images two agree in a band of
16 bits with a probability up to 2.2e-4, and the fullest band holds 0.8% of all. Each picture then lies in one of the
eight ways in which it may, so that turned hashes meet crowds too. Pairs one to three bits apart are planted inside the
fullest band, where a search that gives up on crowds would miss them, and half of them are turned.
"""

import resource
import subprocess
import sys
import time
from itertools import product

import numpy as np

from dermray.datasets.near_duplicates import near_duplicates
from dermray.datasets.turns import Turn

FULLEST, COLLISION, PLANTED = 0.064, 0.0044, 1000  # before an eighth of each crowd is left to lie as it does
COMMON = 0.008
VALUES = 1 << 16  # of a band
WAYS = [Turn(*sides) for sides in product((False, True), repeat=3)]


def bands(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count,) uint64: one value of 6.4% of all, some that are common, and as many again as make up the collisions."""
    common = int((COLLISION - FULLEST**2) / COMMON**2)
    weights = np.full(VALUES, (1 - FULLEST - common * COMMON) / (VALUES - 1 - common))
    weights[0], weights[1 : common + 1] = FULLEST, COMMON
    drawn = [rng.choice(VALUES, count, p=weights).astype(np.uint64) << np.uint64(16 * band) for band in range(4)]
    return drawn[0] | drawn[1] | drawn[2] | drawn[3]


def made(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes, thumbnails, and (PLANTED, 2) images that are near duplicates."""
    rng = np.random.default_rng(count)
    hashes, thumbnails = bands(rng, count), rng.integers(0, 256, (count, 192), dtype=np.uint8)
    way = rng.integers(0, len(WAYS), count)
    for number, turn in enumerate(WAYS):
        hashes[way == number] = turn.hashes(hashes[way == number])
    full = np.flatnonzero(hashes & np.uint64(0xFFFF) == 0)
    pairs = rng.permutation(full)[: 2 * min(PLANTED, len(full) // 2)].reshape(-1, 2)
    for number, (first, second) in enumerate(pairs):
        bits = rng.choice(np.arange(16, 64), rng.integers(1, 4), replace=False)  # the fullest band stays theirs
        hashes[second] = hashes[first] ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64))
        thumbnails[second] = np.clip(thumbnails[first] + rng.integers(-5, 6, 192), 0, 255)
        if number % 2:
            turn = WAYS[rng.integers(1, len(WAYS))]
            hashes[second] = turn.hashes(hashes[second : second + 1])[0]
            thumbnails[second] = turn.thumbnails(thumbnails[second : second + 1])[0]
    return hashes, thumbnails, pairs


def measured(count: int) -> None:
    """A line of the table, for so many images."""
    hashes, thumbnails, pairs = made(count)
    before, started, cpu = _peak(), time.perf_counter(), time.process_time()
    found = near_duplicates(hashes, thumbnails)
    took, worked = time.perf_counter() - started, time.process_time() - cpu
    links = {tuple(link) for link in np.sort(found.links, 1).tolist()}
    missed = sum(tuple(sorted(pair)) not in links for pair in pairs.tolist())
    print(f"| {count:,} | {took:.1f} | {worked:.1f} | {_peak() - before:.0f} | {len(pairs)} | {missed} | "
          f"{len(links) - len(pairs) + missed} | {found.uncompared} |")  # fmt: skip


def _peak() -> float:
    """MiB that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if len(sys.argv) == 2:
        measured(int(sys.argv[1]))
    else:
        print("| images | seconds | of CPU | MiB more | pairs planted | missed | others found | uncompared |")
        print("|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
        for images in sys.argv[1:] or ("10000", "100000", "1000000"):
            subprocess.run([sys.executable, "-m", "benchmarks.near_duplicates_cost", images], check=True)
