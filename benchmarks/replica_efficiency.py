"""How well the caption stage keeps many engines busy: measured over ideal rows/s at 1, 4, 16 and 64 replicas.

    python -m benchmarks.replica_efficiency [REPLICAS ...]

Engines are stand-ins of fixed latency and concurrency on logical CPUs; ideal is replicas * concurrency / latency.
Counted is the time that slots were busy while there was work for all: after the last engine had started, before the
first ran out of rows. Starting engines and the last blocks are not in it.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import ray

from benchmarks.stand_in_engine import StandIn, model_directory
from dermray.captioning import choose
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
    clock = Path(directory, f"clock{replicas}")
    clock.mkdir()
    choose.prepared = StandIn(LATENCY, CONCURRENCY, replicas, clock=str(clock)).prepared  # type: ignore[assignment]
    config = {"output": f"{directory}/caption{replicas}", "rows": f"{directory}/ingest{replicas}",
              "captioner": model_directory(f"{directory}/ingest{replicas}"), "rows_per_block": BLOCK}  # fmt: skip
    run(validate(CaptionConfig, config))
    ray.shutdown()
    taken: dict[str, list[float]] = {}
    for file in clock.iterdir():
        taken.setdefault(file.name.partition("-")[0], []).extend(json.loads(file.read_text()))
    assert len(taken) == replicas
    # from when the last engine got its first row to when the first engine got its last: work is there for all
    start, end = max(map(min, taken.values())), min(map(max, taken.values()))
    busy = sum(max(0.0, min(t + LATENCY, end) - max(t, start)) for times in taken.values() for t in times)
    return busy / (end - start) / (replicas * CONCURRENCY)


def main(counts: list[int]) -> None:
    """Print the efficiency at each number of replicas."""
    prepare_environment()
    os.environ.pop("RAY_ADDRESS", None)
    for replicas in counts:
        with tempfile.TemporaryDirectory() as directory:
            print(f"{replicas} replicas: efficiency {efficiency(directory, replicas):.3f}", flush=True)


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]] or [1, 4, 16, 64])
