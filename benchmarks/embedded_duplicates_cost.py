"""What the search by a network's features takes among random vectors, and whether it finds pairs that are planted.

    python -m benchmarks.embedded_duplicates_cost [images ...] [--clusters]

Vectors have 1,280 features, as EfficientNet-Lite0's have; so the files take 3.4 kB an image. `--clusters` searches the
nearest clusters, which is otherwise done beyond 100,000 images. Random vectors lie far apart: images of one kind, whose
features are near each other, bring candidates that are aligned too, some 2 ms each.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.near_duplicates_cost import _peak
from dermray.datasets.embedded_duplicates import Features, look_alikes
from dermray.synthesis.gate import index

WIDTH, KINDS, PLANTED, MAX_DISTANCE = 1280, 200, 1000, 0.12


def made(count: int, folder: Path) -> tuple[Features, np.ndarray]:
    """Images of so many kinds in files, as the search has them, and (PLANTED, 2) that are near duplicates."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(KINDS, WIDTH)).astype(np.float32)
    vectors = np.lib.format.open_memmap(folder / "v.npy", "w+", np.float16, (count, WIDTH))
    thumbnails = np.lib.format.open_memmap(folder / "t.npy", "w+", np.uint8, (count, 3, 16, 16))
    for start in range(0, count, 1000):
        number = min(1000, count - start)
        drawn = kinds[rng.integers(0, KINDS, number)] + rng.normal(size=(number, WIDTH)).astype(np.float32)
        vectors[start : start + number] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        thumbnails[start : start + number] = rng.integers(0, 256, (number, 3, 4, 4)).repeat(4, 2).repeat(4, 3)
    pairs = rng.permutation(count)[: 2 * PLANTED].reshape(-1, 2)
    for first, second in pairs:
        moved = vectors[first].astype(np.float32) + 0.4 / WIDTH**0.5 * rng.normal(size=WIDTH)  # 0.07 apart
        vectors[second] = moved / np.linalg.norm(moved)
        thumbnails[second] = thumbnails[first]
    return Features(np.arange(count, dtype=np.uint64), vectors, thumbnails, ""), pairs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--clusters", action="store_true")
    asked = parser.parse_args()
    if asked.clusters:
        index.FLAT_UP_TO = 0
    print("| images | search | seconds | of CPU | MiB more | pairs planted | missed | others | cut | crowded |")
    print("|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    for count in asked.images:
        with tempfile.TemporaryDirectory() as folder:
            features, pairs = made(count, Path(folder))
            before, began, worked = _peak(), time.perf_counter(), time.process_time()
            links, counts = look_alikes(features, MAX_DISTANCE)
            took, cpu = time.perf_counter() - began, time.process_time() - worked
        found, planted = ({tuple(sorted(pair)) for pair in each.tolist()} for each in (links, pairs))
        how = f"in {index.clustered(count)} clusters" if index.clustered(count) else "exact"
        print(f"| {count:,} | {how} | {took:.0f} | {cpu:.0f} | {_peak() - before:.0f} | {len(planted)} | "
              f"{len(planted - found)} | {len(found - planted)} | {counts.cut} | "
              f"{counts.crowded} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
