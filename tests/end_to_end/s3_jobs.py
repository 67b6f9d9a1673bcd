"""Stages over S3 in a process of their own, with a stand-in for the captioner and a generator of five steps.

python -m tests.end_to_end.s3_jobs URI ROWS ROWS_PER_BLOCK LATENCY STAGE...
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dermray.failures import plain_cause
from tests.conftest import kill_family, s3_environment

ROOT = Path(__file__).parent.parent.parent
MODEL = {"image_size": 32, "width": 32, "blocks": 1, "stem_width": 8}


def main(run: str, rows: int, block: int, latency: float, stages: list[str]) -> None:
    """The stages one after the other; a line when each is done."""
    from benchmarks.stand_in_engine import StandIn
    from dermray import storage
    from dermray.captioning import choose
    from dermray.captioning import run as captioning
    from dermray.config import validate
    from dermray.datasets import ingest
    from dermray.training import run as training

    choose.prepared = StandIn(latency).prepared  # type: ignore[assignment]  # no engine is prepared
    for stage in stages:
        if stage == "ingest":
            source = {"source": "phantom", "count": rows, "size": 16, "broken": 0.0, "duplicates": 0.0}
            config: Any = {"output": f"{run}/ingest", "sources": [source]}
            ingest.run(validate(ingest.IngestConfig, config))
        elif stage == "caption":
            storage.write_bytes(f"{run}/model/config.json", b"{}")
            config = {"output": f"{run}/caption", "rows": f"{run}/ingest", "rows_per_block": block}
            captioning.run(validate(captioning.CaptionConfig, config | {"captioner": f"{run}/model"}))
        elif stage == "train":
            loop = {"steps": 5, "batch_size": 8, "checkpoint_every": 2}
            config = {"output": f"{run}/train", "rows": f"{run}/caption", "model": MODEL, "loop": loop}
            training.run(validate(training.TrainConfig, config))
        print(f"done: {stage}", flush=True)


class Job:
    """These stages as a process, and all that it starts."""

    def __init__(self, endpoint: str, run: str, rows: int, block: int, latency: float, *stages: str) -> None:
        numbers = [str(rows), str(block), str(latency)]
        command = [sys.executable, "-m", "tests.end_to_end.s3_jobs", run, *numbers, *stages]
        environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | s3_environment(endpoint)
        self.said = list[str]()
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            print(f"{time.strftime('%X')} {line}", end="", flush=True)  # pytest shows it where a test fails

    def done(self, stage: str) -> bool:
        """Whether it said so."""
        return f"done: {stage}\n" in self.said

    def kill(self) -> None:
        """Kill it and all that it started, at once."""
        kill_family(self.process.pid)

    def finish(self, seconds: float) -> bool:
        """Wait for its end; whether that was a good one."""
        try:
            return self.process.wait(seconds) == 0
        finally:
            self.kill()
            self.reader.join(5)


@contextlib.contextmanager
def job(*arguments: Any) -> Iterator[Job]:
    """A job that does not outlive the body."""
    started = Job(*arguments)
    try:
        yield started
    finally:
        started.kill()


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:])
    except Exception as error:
        print(f"failed: {plain_cause(error)}", flush=True)  # as the command line says it
        raise
