"""Training and synthesis over three Ray nodes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dermray import manifest
from tests.quickstart import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

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
import ray
run, rows = sys.argv[1:]
# Three workers of three CPUs cannot share a node of four: they must spread over all three nodes.
main(["train", "--config", "train/pixel_dermdit_nano", f"output={run}/train", f"rows={rows}", "loop.workers=3",
      "loop.cpus_per_worker=3", "loop.batch_size=12", "loop.steps=6",
      "model={image_size: 32, width: 32, blocks: 1, stem_width: 8}"])
assert len([n for n in ray.nodes() if n["Alive"]]) == 3
main(["generate", "--config", "generate/nano", f"output={run}/generate", f"rows={rows}", f"generator={run}/train",
      "count=30", "sampling_steps=2", "actors=3", "cpus_per_actor=3", "batch_size=5", "gate_quantile=0.0"])
ray.shutdown()
cluster.shutdown()
"""


def test_three_nodes(small_run: Path, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(small_run / "caption")],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    train, drawn = manifest.read(f"{tmp_path}/train").manifest, manifest.read(f"{tmp_path}/generate").manifest
    assert (train.metrics["training"]["workers"], train.cpus) == (3, 9)
    assert drawn.rows.ok == 30
