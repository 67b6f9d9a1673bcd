"""A captioning job under random kills loses no row, repeats none, and says how much it did twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray import manifest
from dermray.captioning.resume import require_ids
from dermray.records import read_columns
from tests.captioning.chaos import BLOCK, REPLICAS, ROWS

ROOT = Path(__file__).parent.parent.parent
KILLS = 20


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_twenty_random_kills(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "tests.captioning.chaos", str(tmp_path), str(KILLS)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    kills = json.loads(done.stdout.splitlines()[-1])["kills"]
    print(done.stdout)
    assert len(kills) == KILLS and set(kills) == {"engine", "worker", "driver", "node"}

    result = manifest.read(f"{tmp_path}/caption")
    ids = read_columns(f"{result.data}/rows", ["sample_id"])["sample_id"].to_pylist()
    assert len(ids) == len(set(ids)) == ROWS == result.manifest.rows.ok
    told = result.manifest.metrics["captioning"]
    asked = sum(len(file.read_text().splitlines()) for file in (tmp_path / "record").iterdir())
    again = told["rows_asked_again"]  # noted before the engine is asked: a kill in between leaves a block too many
    assert asked - ROWS <= again <= asked - ROWS + 2 * BLOCK, "the job's own account of work done twice"
    assert 0 < again < KILLS * REPLICAS * BLOCK, "less than one block per replica and kill"
    assert told["starts"] == 1 + kills.count("driver")


def test_sources_that_cannot_be_resumed_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"], "status": ["ok"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no column 'sample_id'"):
        require_ids(str(tmp_path), "sample_id")
    pq.write_table(pa.table({"sample_id": ["a", None, None], "status": ["ok", "ok", "failed"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="1 usable rows have no sample_id"):
        require_ids(str(tmp_path), "sample_id")
    pq.write_table(pa.table({"sample_id": ["a", None], "status": ["ok", "failed"]}), tmp_path / "a.parquet")
    require_ids(str(tmp_path), "sample_id")
