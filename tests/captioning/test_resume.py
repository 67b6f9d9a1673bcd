"""A captioning job killed with SIGKILL goes on from its last block. The engine is a slow fake: this is about rows."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dermray.captioning import engine
from dermray.captioning import run as captioning
from dermray.config import validate
from dermray.datasets import ingest
from dermray.datasets.ingest import read_columns

ROOT = Path(__file__).parent.parent.parent
ROWS = 240


def slow_engine(seconds: float, record: str) -> Any:
    """Answers every image alike, takes its time, and notes each row that it was asked about."""

    def answer(row: dict[str, Any]) -> dict[str, Any]:
        time.sleep(seconds)
        with Path(record).open("a") as file:
            file.write(row["sample_id"] + "\n")
        return row | {"generated_text": "asymmetric lesion.", "num_generated_tokens": 4, "__inference_error__": ""}

    return lambda rows, model, config: rows.map(answer, num_cpus=4)


def caption(directory: str, seconds: float) -> Any:
    """Run the stage with the fake engine."""
    engine.answer = slow_engine(seconds, f"{directory}/record")
    config = {
        "output": f"{directory}/caption",
        "rows": f"{directory}/ingest",
        "captioner": directory,
        "rows_per_block": 20,
    }
    return captioning.run(validate(captioning.CaptionConfig, config))


@pytest.mark.slow
def test_no_row_lost_none_twice_and_finished_blocks_kept(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "answer", engine.answer)  # put back afterwards
    source = {"source": "phantom", "count": ROWS, "size": 16, "broken": 0.0, "duplicates": 0.0}
    ingest.run(validate(ingest.IngestConfig, {"output": f"{tmp_path}/ingest", "sources": [source]}))

    script = f"from tests.captioning.test_resume import caption\ncaption({str(tmp_path)!r}, 0.1)\n"
    log = (tmp_path / "log").open("w")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", script], start_new_session=True, env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    deadline = time.time() + 240
    while time.time() < deadline and len(list((tmp_path / "caption").glob("data-*/rows/*.parquet"))) < 3:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(3)
    before = (tmp_path / "record").read_text().splitlines()
    assert 40 <= len(before) < ROWS, (tmp_path / "log").read_text()

    result = caption(str(tmp_path), 0.0)
    ids = read_columns(f"{result.data}/rows", ["sample_id"])["sample_id"].to_pylist()
    assert len(ids) == len(set(ids)) == ROWS == result.manifest.rows.ok
    asked = (tmp_path / "record").read_text().splitlines()
    redone = len(asked) - ROWS
    assert 0 <= redone <= len(before) - 20, "finished blocks were not captioned again"
