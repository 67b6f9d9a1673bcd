"""A cut of the real preset on three Ray nodes: a few steps a stage, captioned by vLLM's server, all of it in S3."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from dermray import manifest, storage
from dermray.records import read_columns
from tests.conftest import call_cli
from tests.quickstart import ROOT, SERVED_KEY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

SCRIPT = """
import os, sys
from dermray.cluster import prepare_environment
prepare_environment()
from ray.cluster_utils import Cluster
head = {"num_cpus": 4, "object_store_memory": 300_000_000, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
for _ in range(2):
    cluster.add_node(num_cpus=4, object_store_memory=300_000_000)
os.environ["RAY_ADDRESS"] = cluster.address
from dermray.cli import main
main(sys.argv[1:])
import ray
assert len([n for n in ray.nodes() if n["Alive"]]) == 3
ray.shutdown()
cluster.shutdown()
"""


def test_real_photographs_from_image_to_report_on_three_nodes_in_s3(
    shared: Path,
    bucket: str,
    vllm_server: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, environment = f"{bucket}/real", {"DERMRAY_CACHE": str(tmp_path), "OPENAI_API_KEY": SERVED_KEY}
    cut = [
        f"output={run}",
        f"ingest.sources=[{{source: ham10000, path: {shared}/ham10000_nc_subset}},"
        f"{{source: pad_ufes_20, path: {shared}/pad_ufes_20_subset, extension: .jpg}}]",
        "captioner=null",
        f"caption.remote={{base_url: '{vllm_server}', model: nano}}",
        # three workers, and later actors, of three CPUs cannot share a node of four: they spread over all three
        "train.loop.workers=3",
        "train.loop.cpus_per_worker=3",
        "train.loop.batch_size=12",
        "train.loop.steps=10",
        "train.model={image_size: 64, width: 32, blocks: 1, stem_width: 8}",
        "generate={count: 40, sampling_steps: 2, gate_quantile: 0.0, actors: 3, cpus_per_actor: 3, batch_size: 5}",
        "evaluate={judge_steps: 10, pairs: 10}",
        "sweep={real_images: 16, seeds: 2, steps: 10, backbones: [{name: test_resnet, learning_rate: 6.0e-3}]}",
        "sweep.resamples=20",
    ]
    elsewhere = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | environment
    command = [sys.executable, "-c", SCRIPT, "run", "--config", "pipeline/real_nano", *cut]
    done = subprocess.run(command, cwd=ROOT, env=elsewhere, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary: dict[str, Any] = json.loads(storage.read_bytes(f"{run}/summary.json"))
    assert summary["stages"]["ingest"]["rows_in"] == 501
    assert summary["captioning"]["attribute_accuracy"] == {}, "photographs have no drawn truth"
    page = storage.read_bytes(f"{run}/report.html").decode()
    assert "CC-BY-4.0, CC-BY-NC-4.0" in page and "knows nothing of photographs" in page

    rows = f"{manifest.read(f'{run}/caption').data}/rows"
    table = read_columns(rows, ["source", "skin_tone", "caption", "modality"], pc.field("status") == "ok").to_pylist()
    assert {r["source"] for r in table} == {"ham10000", "pad_ufes_20"}
    assert all(r["skin_tone"] is None for r in table if r["source"] == "ham10000"), "unknown stays unknown"
    assert any("melanoma, dermoscopic" in r["caption"] for r in table)
    licences = read_columns(f"{manifest.read(f'{run}/generate').data}/rows", ["licence"])["licence"]
    assert set(licences.to_pylist()) == {"CC-BY-4.0 AND CC-BY-NC-4.0"}
    train = manifest.read(f"{run}/train").manifest
    assert (train.metrics["training"]["workers"], train.cpus) == (3, 9)
    trained = storage.list_files(manifest.read(f"{run}/train").data)
    assert any("/tensorboard/events" in file for file in trained) and any("/model/" in file for file in trained)
    assert not any("/run/" in file for file in trained), "no checkpoint is left of a finished training"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert call_cli(capsys, "run", "--config", "pipeline/real_nano", *cut)[1].count("already done") == 6
