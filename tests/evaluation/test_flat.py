"""Distances of ten times as many images take the memory of few."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray.evaluation.distribution import Distances, compare
from dermray.evaluation.extraction import PARTS, vectors
from dermray.evaluation.inception_score import inception_score
from dermray.evaluation.stored import Stored
from tests.fresh_processes import fresh_processes

ROWS, ROWS_PER_FILE, WIDTH, CLASSES = 20_000, 1_000, 64, 8
BYTES_A_ROW = 16  # of each of two kinds of images, whose features take 256 bytes


def write(folder: Path, rows: int, seed: int) -> str:
    """Features of random images, 256 bytes a row and more."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for start in range(0, rows, ROWS_PER_FILE):
        table = pa.table(
            {
                "status": ["ok"] * ROWS_PER_FILE,
                "key": rng.integers(0, 2**64, ROWS_PER_FILE, np.uint64),
                "part": rng.integers(0, 2 * PARTS, ROWS_PER_FILE, np.uint8),
                "features_0": vectors(rng.normal(size=(ROWS_PER_FILE, WIDTH))),
                "logits_0": vectors(rng.normal(size=(ROWS_PER_FILE, CLASSES))),
            }
        )
        pq.write_table(table, folder / f"{start:09}.parquet", use_dictionary=False)
    return str(folder)


def peak(real: str, synthetic: str, answer: Any) -> None:
    """In a process of its own."""
    found = compare(Stored(real), Stored(synthetic), 20, 100)
    score = inception_score(Stored(synthetic))
    assert isinstance(found, Distances) and score
    status = Path("/proc/self/status").read_text().splitlines()
    [kib] = [line.split()[1] for line in status if line.startswith("VmHWM")]
    answer.send((int(kib) * 1024, found.real, found.frechet_excess_interval, score.images))


@pytest.mark.slow
def test_memory_hardly_grows_with_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that threads keep for later is left out, as in tests/test_flat.py."""
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    peaks = []
    with fresh_processes(__name__, "pandas.util") as context:
        for times in (1, 10):
            folder = tmp_path / str(times)
            sides = [write(folder / name, times * ROWS, seed) for seed, name in enumerate(("real", "fake"))]
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=peak, args=(*sides, sender))
            process.start()
            sender.close()
            memory, images, interval, scored = receiver.recv()
            process.join()
            assert images == scored == times * ROWS
            assert interval[0] < 0 < interval[1], "both are of one distribution"
            peaks.append(memory)
    slope = (peaks[1] - peaks[0]) / (9 * 2 * ROWS)  # of real and synthetic rows
    print(f"{peaks[0] / 2**20:.0f} MiB, then {slope:.1f} bytes a row")
    assert slope <= BYTES_A_ROW
