"""How a process's memory grows with the images of a pixel store: 1,000, 10,000 and 100,000 of them, read at random.

    python -m benchmarks.pixel_store_memory

Stores of random pixels at a small side stand in for photographs at 224 px. Each is read by a process of its own in
batches of 32 in a random order, as a training does, and the peak of its resident memory is asked of the kernel.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dermray.classification.pixel_store import SHARD_BYTES, VERSION, PixelStore, numbers, write_shard

SIDE, COUNTS, BATCH = 48, (1_000, 10_000, 100_000), 32
LEAST_READS = 4_000  # batches, so that small stores are read over and over too


def ids_of(start: int, count: int) -> list[str]:
    """Names that are spread like hashes."""
    return [f"{i * 0x9E3779B97F4A7C15 % 2**64:016x}" for i in range(start, start + count)]


def make(store: str, count: int) -> None:
    """So many images of random pixels, in shards of the usual size."""
    rng, per_shard = np.random.default_rng(0), SHARD_BYTES // (3 * SIDE**2)
    for start in range(0, count, per_shard):
        ids = ids_of(start, min(per_shard, count - start))
        images = rng.integers(0, 256, (len(ids), 3, SIDE, SIDE), dtype=np.uint8)
        write_shard(f"{store}/{SIDE}px-v{VERSION}", f"{start:09d}", numbers(ids), images)


def peak() -> int:
    """Peak resident memory of this program in MiB: getrusage's would be that of whoever started it too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))


def read(store: str, count: int) -> None:
    """All images at random; prints peak memory before and after, in MiB, and images a second."""
    before = peak()
    opened = PixelStore.open(store, SIDE)
    rows = opened.rows(ids_of(0, count))
    reads = max(LEAST_READS, count // BATCH)
    order = np.random.default_rng(1).permutation(np.resize(rows, reads * BATCH)).reshape(reads, BATCH)
    started, total = time.perf_counter(), 0
    for batch in order:
        total += int(opened.pixels(batch)[0, 0, 0, 0])
    rate = order.size / (time.perf_counter() - started)
    print(before, peak(), f"{rate:.0f}")


def main() -> None:
    """One line a store."""
    print(f"side {SIDE} px, batches of {BATCH}, shards of {SHARD_BYTES >> 20} MiB")
    print("images   store, MiB   peak RSS before, MiB   after, MiB   growth, MiB   images/s")
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as directory:
            make(directory, count)
            size = sum(file.stat().st_size for file in Path(directory).rglob("*.npy")) >> 20
            command = [sys.executable, "-m", "benchmarks.pixel_store_memory", directory, str(count)]
            before, after, rate = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            growth = int(after) - int(before)
            print(f"{count:7d} {size:10d} {before:>18} {after:>14} {growth:12d} {rate:>13}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        read(sys.argv[1], int(sys.argv[2]))
    else:
        main()
