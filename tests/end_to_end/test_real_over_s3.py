"""A cut of the real preset, a few steps a stage, captioned by vLLM's server, with everything it writes in S3."""

import json
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from dermray import manifest, storage
from dermray.records import read_columns
from tests.conftest import call_cli, run_cli
from tests.quickstart import SERVED_KEY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


def test_real_photographs_from_image_to_report_in_s3(
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
        "train.loop.steps=10",
        "train.loop.workers=1",
        "train.model={image_size: 64, width: 32, blocks: 1, stem_width: 8}",
        "generate={count: 40, sampling_steps: 2, gate_quantile: 0.0, actors: 1}",
        "evaluate={judge_steps: 10, pairs: 10}",
        "sweep={real_images: 16, seeds: 2, steps: 10, backbones: [{name: test_resnet, learning_rate: 6.0e-3}]}",
        "sweep.resamples=20",
    ]
    done = run_cli("run", "--config", "pipeline/real_nano", *cut, timeout=900, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
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
    trained = storage.list_files(manifest.read(f"{run}/train").data)
    assert any("/tensorboard/events" in file for file in trained) and any("/model/" in file for file in trained)
    assert not any("/run/" in file for file in trained), "no checkpoint is left of a finished training"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert call_cli(capsys, "run", "--config", "pipeline/real_nano", *cut)[1].count("already done") == 6
