"""The caption stage over many rows, killed at half and started again: rows/s, memory over time, how soon it goes on.

    python -m benchmarks.scale_of_captioning ROWS [--directory DIR] [--rows-per-block 256]

The rows are stand-ins: metadata and an image of one pixel, written as ingest would leave them, and an engine that
answers at once (stand_in_engine.py), so that what is measured is all that grows with the rows. The job is a process of
its own with its own Ray, ended with SIGKILL. Prints JSON, and a Markdown table of the course.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.stand_in_engine import StandIn, model_directory
from dermray import manifest, storage
from dermray.captioning import choose
from dermray.captioning.run import CaptionConfig, run
from dermray.config import Config, validate
from dermray.datasets.decode import png
from dermray.records import IMAGES, conform

ROWS_PER_FILE = 50_000
SECONDS_BETWEEN_READINGS = 1
# What processes of a Ray are called, and what they are here. Others of Ray's workers are tasks that come and go.
PARTS = {"gcs_server": "gcs", "raylet": "raylet", "ray::ReadParquet": "reading", "ray::MapWorker": "actors"}


class StandInRows(Config):
    """What stands in for the config of an ingest."""

    output: str
    count: int


def ingested(output: str, count: int) -> None:
    """A result of `ingest` with `count` rows of one pixel each, all usable."""
    with manifest.work("ingest", output, validate(StandInRows, {"output": output, "count": count}), {}) as work:
        if work.finished:
            return
        target = storage.join(work.data, "rows")
        storage.make_directory(target)
        system, path = storage.filesystem(target)
        for start in range(0, count, ROWS_PER_FILE):
            rows = _rows(start, min(count, start + ROWS_PER_FILE))
            file = f"{path}/{start // ROWS_PER_FILE:06d}.parquet"
            pq.write_table(rows, file, filesystem=system, row_group_size=5000)
        work.commit(manifest.Rows(rows_in=count, ok=count, rejected=0, failed=0), count)


def _rows(start: int, end: int) -> pa.Table:
    pixel = png(Image.new("RGB", (1, 1)))
    one = conform(
        [{"image": pixel, "width": 1, "height": 1, "source": "stand-in", "malignant": True, "skin_tone": "A",
          "licence": "CC0-1.0", "origin": "real", "split": "train", "status": "ok"}],
        IMAGES,
    )  # fmt: skip
    rows = one.take(pa.array([0] * (end - start)))
    numbers = [str(i) for i in range(start, end)]
    ids = [hashlib.sha256(number.encode()).hexdigest() for number in numbers]
    for name, values in (("sample_id", ids), ("source_id", numbers), ("leak_group", numbers)):
        rows = rows.set_column(IMAGES.get_field_index(name), name, pa.array(values))
    return rows


def caption(directory: str, rows_per_block: int) -> None:
    """The job itself."""
    choose.prepared = StandIn().prepared  # type: ignore[assignment]  # a stand-in for this measurement
    config = {"output": f"{directory}/caption", "rows": f"{directory}/ingest", "captioner": f"{directory}/model",
              "rows_per_block": rows_per_block}  # fmt: skip
    run(validate(CaptionConfig, config))


class Job:
    """The job as a process of its own, and what is seen of it from outside."""

    def __init__(self, directory: str, rows_per_block: int) -> None:
        self.directory, self.rows_per_block, self.began = directory, rows_per_block, time.monotonic()
        command = [sys.executable, "-m", "benchmarks.scale_of_captioning", "0", "--directory", directory,
                   "--rows-per-block", str(rows_per_block), "--job"]  # fmt: skip
        self.process = subprocess.Popen(command, start_new_session=True)
        self.driver = psutil.Process(self.process.pid)

    def readings(self, until: float = float("inf")) -> Iterator[dict[str, float]]:
        """Every few seconds until so many blocks are written, or the job ends: MiB by part, and blocks written."""
        while self.process.poll() is None:
            blocks = self.blocks()
            yield {"seconds": time.monotonic() - self.began, "blocks": blocks} | self.memory()
            if blocks >= until:
                return
            time.sleep(SECONDS_BETWEEN_READINGS)

    def blocks(self) -> int:
        """Blocks whose rows are written."""
        rows = [found for data in Path(self.directory, "caption").glob("data-*") if (found := data / "rows").is_dir()]
        return sum(1 for directory in rows for _ in os.scandir(directory))

    def memory(self) -> dict[str, float]:
        """MiB: the resident set of the driver and Ray's own processes, the largest of other kinds, Ray's shared memory
        left out."""
        found: dict[str, float] = {"driver": _own(self.driver)}
        for process in _family(self.driver)[1:]:
            try:
                name, size = process.name(), _own(process)
            except psutil.NoSuchProcess:
                continue
            part = PARTS.get(name.partition("(")[0].split("->")[0], "others")
            found[part] = max(found.get(part, 0.0), size)
        return found

    def kill(self) -> None:
        """The driver and its Ray, at once."""
        family = _family(self.driver)
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=30)
        self.process.wait()


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _own(process: psutil.Process) -> float:
    memory = process.memory_info()
    return float(memory.rss - memory.shared) / 2**20


def measure(directory: str, rows: int, rows_per_block: int) -> dict[str, Any]:
    """What the job took, killed at half."""
    began = time.monotonic()
    ingested(f"{directory}/ingest", rows)
    if not Path(directory, "model").is_dir():
        model_directory(directory)
    print(f"{rows} rows made in {time.monotonic() - began:.0f} s", flush=True)
    blocks = rows / rows_per_block
    first = Job(directory, rows_per_block)
    before = _shown(first.readings(blocks / 2))
    first.kill()
    print(f"killed after {time.monotonic() - began:.0f} s\n\n{table(_thinned(before))}\n", flush=True)
    at_kill = first.blocks()
    second = Job(directory, rows_per_block)
    after = _shown(second.readings())
    print(f"done after {time.monotonic() - began:.0f} s\n\n{table(_thinned(after))}\n", flush=True)
    assert second.process.returncode == 0, "the job failed"
    total = time.monotonic() - second.began
    result = manifest.read(f"{directory}/caption").manifest
    assert (result.rows.rows_in, result.rows.ok) == (rows, rows), result.rows
    fresh = [reading for reading in after if reading["blocks"] > at_kill]
    written = [reading for reading in after if reading["blocks"] >= after[-1]["blocks"]]
    told = result.metrics["captioning"]
    return {
        "rows": rows,
        "rows_per_block": rows_per_block,
        "rows_per_second": {"first half": _rate(before, rows_per_block), "second half": _rate(fresh, rows_per_block)},
        "rows_when_killed": at_kill * rows_per_block,
        "seconds_from_start_to_first_row": {"new": _first(before, 0), "resumed": _first(after, at_kill)},
        "seconds_from_last_row_to_manifest": round(total - written[0]["seconds"]),
        "rows_done_twice": told["rows_asked_again"],
    }


def _shown(readings: Iterator[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: round(value) for name, value in reading.items()} for reading in readings]


def _thinned(readings: list[dict[str, float]]) -> list[dict[str, float]]:
    """Ten of them, and the last in which the job was alive."""
    alive = [reading for reading in readings if reading["driver"]]
    return [*alive[:: max(1, len(alive) // 10)], alive[-1]]


def _rate(readings: list[dict[str, float]], rows_per_block: int) -> float:
    """From the first block to the last one written, rows/s."""
    begun = [reading for reading in readings if reading["blocks"]]
    last = next(reading for reading in begun if reading["blocks"] == begun[-1]["blocks"])
    seconds = last["seconds"] - begun[0]["seconds"]
    return round((last["blocks"] - begun[0]["blocks"]) * rows_per_block / max(seconds, 1))


def _first(readings: list[dict[str, float]], blocks: int) -> float:
    return next(reading["seconds"] for reading in readings if reading["blocks"] > blocks)


def table(course: list[dict[str, float]]) -> str:
    """The readings in Markdown."""
    names = list(dict.fromkeys(name for reading in course for name in reading))
    lines = [names, ["--:"] * len(names), *([str(reading.get(name, "")) for name in names] for reading in course)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int)
    parser.add_argument("--directory", help="where all is written; a temporary one if not given")
    parser.add_argument("--rows-per-block", type=int, default=256)
    parser.add_argument("--job", action="store_true", help="be the job that is measured")
    given = parser.parse_args()
    if given.job:
        caption(given.directory, given.rows_per_block)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            told = measure(given.directory or temporary, given.rows, given.rows_per_block)
        print(json.dumps(told, indent=1))
