"""The caption stage by itself: rows/s and memory with an engine that answers at once, and at 10 times the rows.

    python -m benchmarks.orchestration_limit [ROWS]

Everything but the model is the real thing: reading, decoding, prompts, checkpoints, reading answers, writing. The
rate runs from the first engine's readiness to the last row; memory is the peak of all processes, shared pages once.
"""

import sys
import tempfile
import threading

import ray

from benchmarks.stand_in_engine import StandIn, model_directory
from dermray.captioning import choose
from dermray.captioning.run import CaptionConfig, run
from dermray.cluster import connect
from dermray.config import validate
from dermray.datasets.ingest import IngestConfig
from dermray.datasets.ingest import run as ingest
from dermray.memory import proportional_bytes

ROWS = 3000


def measure(directory: str, rows: int) -> tuple[float, float]:
    """Rows/s and GiB at the peak, in a Ray of its own."""
    source = {"source": "phantom", "count": rows, "size": 64, "broken": 0.0, "duplicates": 0.0}
    connect()
    ingest(validate(IngestConfig, {"output": f"{directory}/ingest{rows}", "sources": [source]}))
    ray.shutdown()
    connect()
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(1):
            peak[0] = max(peak[0], proportional_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    model = model_directory(f"{directory}/ingest{rows}")
    config = {"output": f"{directory}/caption{rows}", "rows": f"{directory}/ingest{rows}", "captioner": model}
    told = run(validate(CaptionConfig, config)).manifest.metrics["captioning"]["last_start"]
    stop.set()
    thread.join()
    ray.shutdown()
    return told["captions_per_second"], peak[0] / 2**30


def main(rows: int) -> None:
    """Print both rates, both peaks and their ratios."""
    choose.prepared = StandIn().prepared  # type: ignore[assignment]  # a stand-in for this measurement
    with tempfile.TemporaryDirectory() as directory:
        (few, few_memory), (many, many_memory) = (measure(directory, n) for n in (rows, 10 * rows))
    print(f"{rows} rows: {few:.0f} rows/s, peak {few_memory:.2f} GiB")
    print(f"{10 * rows} rows: {many:.0f} rows/s, peak {many_memory:.2f} GiB")
    print(f"ratio of rates: {many / few:.3f}\nratio of peaks: {many_memory / few_memory:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
