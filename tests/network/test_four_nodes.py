"""The stages on four nodes over S3, 20 ms from one another and a packet in 200 lost: the same as on one machine."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dermray import manifest, storage
from dermray.records import read_columns
from tests.network.cluster import BUCKET, cluster, ids
from tests.raylets import ROOT

ROWS = 240
ONE_WAY, LOSS = 0.01, 0.005
RUN = f"s3://{BUCKET}/run"
STAGES = ("ingest", "caption", "train", "generate", "evaluate", "sweep")


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.soak
def test_four_nodes_over_a_bad_network_make_what_one_machine_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster(tmp_path / "nodes", monkeypatch) as nodes:
        nodes.nodes.set("latency", ONE_WAY)
        nodes.nodes.set("loss", LOSS)
        code = nodes.begin(RUN, ROWS, 0.02, *STAGES).wait(1500)
        assert code == 0, nodes.said[-5000:]
        there = {stage: _result(RUN, stage) for stage in STAGES}
        workers = manifest.read(f"{RUN}/train").manifest.metrics["training"]["workers"]
    assert workers == 2
    assert "nodes gone" not in nodes.said
    here = _on_one_machine(tmp_path / "here", nodes.model)
    for stage in STAGES:
        assert here[stage] == there[stage], stage


def _on_one_machine(run: Path, model: str) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.network.stages", str(run), model, str(ROWS), "0.02", *STAGES]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return {stage: _result(str(run), stage) for stage in STAGES}


def _result(run: str, stage: str) -> Any:
    """What must be the same bit for bit wherever it was made. Ids of rows are hashes of their images."""
    result = manifest.read(f"{run}/{stage}")
    if stage in ("ingest", "caption"):
        columns = ["sample_id", "split", "leak_group", "status"] + (["caption"] if stage == "caption" else [])
        return sorted(read_columns(f"{result.data}/rows", columns).to_pylist(), key=lambda row: row["sample_id"])
    if stage == "generate":
        return ids(result)
    if stage == "train":
        return {Path(file).name: storage.read_bytes(file) for file in storage.list_files(f"{result.data}/model")}
    return _rounded(result.manifest.metrics["sources" if stage == "evaluate" else "table"])


def _rounded(value: Any) -> Any:
    """Sums of many images are added up block by block, in any order."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value
