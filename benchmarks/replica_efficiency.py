"""How well the caption stage keeps many engines busy: measured over ideal rows/s at 1, 4, 16 and 64 replicas.

    python -m benchmarks.replica_efficiency [REPLICAS ...]

Engines are stand-ins of fixed latency and concurrency on logical CPUs; ideal is replicas * concurrency / latency.
Counted are the rows that engines took on between the moment when all were busy and the last block.
"""

import os
import sys
import tempfile
from pathlib import Path

import ray

from benchmarks.stand_in_engine import StandIn
from dermray.captioning import engine
from dermray.captioning.run import CaptionConfig, run
from dermray.cluster import prepare_environment
from dermray.config import validate
from dermray.datasets.ingest import IngestConfig
from dermray.datasets.ingest import run as ingest

LATENCY, CONCURRENCY, BLOCK = 4.0, 4, 8  # one row a second and replica
SECONDS = 60  # of work per replica


def efficiency(directory: str, replicas: int) -> float:
    """Measured over ideal rows/s."""
    ray.init(address="local", num_cpus=replicas + 8, include_dashboard=False, object_store_memory=1 << 30)
    rows = int(replicas * CONCURRENCY / LATENCY * SECONDS)
    source = {"source": "phantom", "count": rows, "size": 16, "broken": 0.0, "duplicates": 0.0}
    ingest(validate(IngestConfig, {"output": f"{directory}/ingest{replicas}", "sources": [source]}))
    record = Path(directory, f"record{replicas}")
    record.mkdir()
    engine.answer = StandIn(LATENCY, CONCURRENCY, replicas, record=str(record)).answer  # type: ignore[assignment]
    config = {"output": f"{directory}/caption{replicas}", "rows": f"{directory}/ingest{replicas}",
              "captioner": directory, "rows_per_block": BLOCK}  # fmt: skip
    run(validate(CaptionConfig, config))
    ray.shutdown()
    begun: dict[int, list[float]] = {}
    for file in record.iterdir():
        pid, nanoseconds = file.name.split("-")
        begun.setdefault(int(pid), []).append(int(nanoseconds) / 1e9)
    # two blocks are in flight per engine, so the third begins when the first has ended: from then on all are busy
    start = max(sorted(times)[min(2, len(times) - 1)] for times in begun.values())
    end = max(time for times in begun.values() for time in times)
    taken = sum(start < time <= end for times in begun.values() for time in times) * BLOCK
    return taken / (end - start) / (replicas * CONCURRENCY / LATENCY)


def main(counts: list[int]) -> None:
    """Print the efficiency at each number of replicas."""
    prepare_environment()
    os.environ.pop("RAY_ADDRESS", None)
    for replicas in counts:
        with tempfile.TemporaryDirectory() as directory:
            print(f"{replicas} replicas: efficiency {efficiency(directory, replicas):.3f}", flush=True)


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]] or [1, 4, 16, 64])
