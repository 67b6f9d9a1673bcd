"""A cut of the real preset on two Ray nodes that share no disk and no code: a few steps a stage, all of it in S3."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from dermray import manifest, storage
from dermray.records import read_columns
from tests.conftest import call_cli
from tests.raylets import ROOT, own_environment, two_nodes

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(3000)]  # six minutes

ANSWER = "asymmetric lesion, irregular border, red."
# The engine is a stand-in, sent to the nodes with the driver's script: it answers with what lies among its weights, and
# starts when both nodes have an engine.
SCRIPT = """
import sys, time
from pathlib import Path
import pyarrow as pa
from dermray import storage, weights
from dermray.captioning import choose
from dermray.captioning.engine import ANSWERED
from dermray.cli import main

class Engine:
    def __init__(self, model):
        import ray
        self.answer = Path(weights.locate(model, "captioner"), "answer.txt").read_text()
        ready = model + ".ready"
        storage.write_bytes(storage.join(ready, ray.get_runtime_context().get_node_id()), b"")
        while len(storage.list_files(ready)) < 2:
            time.sleep(0.2)

    def __call__(self, table):
        for (name, kind), value in zip(ANSWERED, (self.answer, 80, 12, "stop", None, 1), strict=True):
            table = table.append_column(name, pa.array([value] * table.num_rows, kind))
        return table

def answer(rows, ask):
    from ray.data import ActorPoolStrategy
    return rows.map_batches(Engine, fn_constructor_args=(ask.model,), batch_format="pyarrow", batch_size=None,
                            compute=ActorPoolStrategy(size=2), num_cpus=4)

choose.prepared = lambda model, host: answer
main(sys.argv[1:])
"""


@pytest.fixture
def nodes(shared: Path, bucket: str, tmp_path: Path) -> Iterator[str]:
    """The address of two nodes that share nothing but S3. The other one sees no dermray at all, and neither the head's
    and the driver's directories nor the images; credentials are its own, where S3 is it is told by the driver."""
    nothing, driver = tmp_path / "nothing", tmp_path / "driver"
    own_environment(driver)
    hidden = [
        *(ROOT / name for name in ("dermray", "benchmarks", "tests", "jobs")),
        shared,
        driver,
        tmp_path / "nodes" / "head",
    ]
    with two_nodes(tmp_path / "nodes", 6, dict.fromkeys(hidden, nothing), {}) as address:
        yield address
    assert not list(nothing.rglob("*")), "the other node wrote to a place that only the driver has"


def test_real_photographs_from_image_to_report_on_two_nodes_that_share_nothing_but_s3(
    shared: Path, bucket: str, nodes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, weights = f"{bucket}/real", f"{bucket}/captioner-weights"
    for name in ("ham10000_nc_subset", "pad_ufes_20_subset"):
        storage.copy_directory(f"{shared}/{name}", f"{bucket}/images/{name}")
    storage.write_bytes(f"{weights}/config.json", b"{}")
    storage.write_bytes(f"{weights}/answer.txt", ANSWER.encode())
    cut = [
        f"output={run}",
        f"stages.ingest.sources=[{{source: ham10000, path: {bucket}/images/ham10000_nc_subset}},"
        f"{{source: pad_ufes_20, path: {bucket}/images/pad_ufes_20_subset, extension: .jpg}}]",
        "stages.captioner=null",
        f"stages.caption.captioner={weights}",
        "stages.caption.rows_per_block=64",
        # two engines, workers and later actors of four CPUs cannot share a node of six: there is one on each
        "stages.train.loop.workers=2",
        "stages.train.loop.cpus_per_worker=4",
        "stages.train.loop.batch_size=12",
        "stages.train.loop.steps=10",
        "stages.train.model={image_size: 64, width: 32, blocks: 1, stem_width: 8}",
        "stages.generate={generator: {from: train}, rows: {from: caption}, "
        "count: 40, sampling_steps: 2, actors: 2, cpus_per_actor: 4, batch_size: 5, "
        "gate: {false_rate: 0, training_steps: 10, planted: 2}}",
        "stages.evaluate={rows: {from: caption}, synthetic: {from: generate}, judge_steps: 10, pairs: 10}",
        "stages.sweep={rows: {from: caption}, synthetic: {from: generate}, "
        "real_images: 16, seeds: 2, image_size: 64, training: {steps: 10}, "
        "backbones: [{name: test_resnet, learning_rate: 6.0e-3}]}",
        "stages.sweep.resamples=20",
    ]
    environment = os.environ | own_environment(tmp_path / "driver")
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": nodes, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, "run", "--config", "pipeline/real_nano", *cut]
    here = tmp_path / "driver" / "here"
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary: dict[str, Any] = json.loads(storage.read_bytes(f"{run}/summary.json"))
    assert summary["stages"]["ingest"]["rows_in"] == 501
    assert summary["stages"]["caption"]["attribute_accuracy"] == {}, "photographs have no drawn truth"
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
    assert (train.metrics["training"]["workers"], train.cpus) == (2, 8)
    trained = storage.list_files(manifest.read(f"{run}/train").data)
    assert any("/tensorboard/events" in file for file in trained) and any("/model/" in file for file in trained)
    assert not any("/run/" in file for file in trained), "no checkpoint is left of a finished training"
    for node in ("head", "other"):
        copies = [path.name.rpartition("-")[0] for path in (tmp_path / "nodes" / node / "cache").glob("*.lock")]
        assert any(name.endswith("captioner-weights") for name in copies), f"a copy of its own: {node} has {copies}"
    assert not list(here.iterdir()), "all is in S3"
    assert call_cli(capsys, "run", "--config", "pipeline/real_nano", *cut)[1].count("already done") == 6
