"""A captioning job on three Ray nodes under random kills, until it is done. Prints what happened as JSON.

    python -m tests.captioning.chaos DIRECTORY KILLS ROWS

The engine is a stand-in: this is about rows. Killed are, in random order, engine processes, their Ray actors, the
driver, and whole nodes.
"""

import os
import sys
from pathlib import Path

import psutil

from benchmarks.scale_of_captioning import ingested
from benchmarks.stand_in_engine import model_directory
from tests.chaos import Job, processes, under_fire

ROWS, BLOCK, REPLICAS = 1200, 24, 2
LATENCY, CONCURRENCY = 0.1, 4  # of a replica: seconds a row, rows at a time
KINDS = {"engine": 0.35, "worker": 0.35, "driver": 0.15, "node": 0.15}
DRIVER = """
import sys
from benchmarks.stand_in_engine import StandIn
from dermray.captioning import choose, run
from dermray.config import validate
directory = sys.argv[1]
stand_in = StandIn({latency}, {concurrency}, {replicas}, record=directory + "/record", process=True, resource="engines")
choose.prepared = stand_in.prepared
run.run(validate(run.CaptionConfig, {{"output": directory + "/caption", "rows": directory + "/ingest",
                                     "captioner": directory + "/model", "rows_per_block": {block}}}))
"""


def main(directory: str, kills: int, rows: int = ROWS) -> None:
    """Rows as ingest leaves them, then captions under fire."""
    record = Path(directory) / "record"
    record.mkdir()
    model_directory(directory)
    ingested(f"{directory}/ingest", rows)
    script = DRIVER.format(latency=LATENCY, concurrency=CONCURRENCY, replicas=REPLICAS, block=BLOCK)
    command = [sys.executable, "-c", script, directory]
    job = Job(Path(directory), command, KINDS, victims, lambda: len(os.listdir(record)), pause=(0.1, 1.0))
    under_fire(job, kills, REPLICAS, head_cpus=4)


def victims(kind: str) -> list[psutil.Process]:
    """Actors that hold an engine, or the processes of these engines."""
    actors = processes("MapBatches(_Engine)")
    return [child for actor in actors for child in _children(actor)] if kind == "engine" else actors


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [c for c in process.children() if any("spawn_main" in part for part in c.cmdline())]
    except psutil.Error:
        return []


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
