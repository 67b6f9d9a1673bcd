"""Faults that the doctor is to see, made on purpose."""

import email.utils
import time
from pathlib import Path
from typing import Any

import pytest

from dermray import gpus, s3
from dermray.doctor import cluster, machine, place, single_stage, whole_run
from dermray.doctor.finding import Finding
from tests.conftest import call_cli


def faults(found: list[Finding]) -> list[str]:
    return [finding.what for finding in found if finding.level == "fault"]


def test_versions_that_were_not_run_together() -> None:
    found = list(machine.versions(["numpy>=99", "no-such-library>=1", "pyyaml>=6", "wandb>=0.22; extra == 'wandb'"]))
    assert found[0].what.startswith("numpy ") and found[0].what.endswith(", expected >=99")
    assert found[1].what == "no-such-library is missing, expected >=1"
    assert [finding.advice for finding in found] == ["pip install 'numpy>=99'", "pip install 'no-such-library>=1'"]
    assert [finding.level for finding in machine.versions(["pyyaml>=6"])] == ["ok"]


def test_memory_and_limits() -> None:
    assert machine.memory(20 << 30, 24 << 30).level == "ok"
    assert machine.memory(2 << 30, 24 << 30).what == "memory: 2.0 of 24.0 GiB free"
    told = list(machine.settings(1024, {"PYTHONDONTWRITEBYTECODE": "1"}))
    assert [finding.level for finding in told] == ["ok", "warning", "warning"] and "1024 files" in told[1].what


def test_a_cache_that_is_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path / "file" / "cache"))
    assert faults(list(machine.disks())) == [f"cache {tmp_path}/file/cache: Not a directory"]


def test_a_directory_is_left_as_it_was(tmp_path: Path) -> None:
    for uri in (tmp_path, tmp_path / "new"):
        found = list(place.findings(str(uri)))
        assert found[0].what == f"{uri}: can be written to, and keeps two writers apart"
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (told,) = faults(list(place.findings(str(tmp_path / "file" / "x"))))
    assert "cannot create this directory" in told


def test_a_bucket(bucket: str) -> None:
    found = list(place.findings(f"{bucket}/runs"))
    assert [finding.level for finding in found] == ["ok"] * 3 and "conditional writes keep" in found[1].what
    assert list(s3.objects(f"{bucket}/runs")) == []
    (told,) = faults(list(place.findings("s3://no-such-bucket/runs")))
    assert "NoSuchBucket" in told


def test_a_store_that_ignores_conditions(bucket: str) -> None:
    client = s3.client_of(bucket)[0]

    def forget(request: Any, **_: Any) -> None:
        for header in ("If-Match", "If-None-Match"):
            del request.headers[header]

    client.meta.events.register("before-sign.s3.PutObject", forget)
    try:
        found = list(place.findings(bucket))
    finally:
        client.meta.events.unregister("before-sign.s3.PutObject", forget)
    assert faults(found) == [
        f"{bucket}: this store ignores IfNoneMatch and IfMatch, so two runs could write the same result"
    ]


def test_a_clock_that_is_off() -> None:
    def answer(seconds: float) -> dict[str, Any]:
        date = email.utils.formatdate(time.time() + seconds, usegmt=True)
        return {"ResponseMetadata": {"HTTPHeaders": {"date": date}}}

    assert place._clock("s3://bucket/x", answer(0)).level == "ok"
    off = place._clock("s3://bucket/x", answer(600))
    assert off.level == "warning" and off.what.startswith(("clock: 600 s behind", "clock: 599 s behind"))


def test_what_a_config_names(tmp_path: Path) -> None:
    given = tmp_path / "train.yaml"
    given.write_text(
        f"output: {tmp_path}/o\nrows: {tmp_path}\nfamily: flux_lora\nmodel: {{base: org/flux}}\nloop: {{steps: 1}}"
    )
    levels = {f.what: f.level for f in single_stage.findings("train", given, [])}
    assert levels == {
        f"{given}: a valid config of train": "ok", f"rows={tmp_path}: there": "ok",
        "model.base=org/flux: a hub id, fetched when it is used": "ok",
    }  # fmt: skip
    assert faults(list(single_stage.findings("train", given, ["rows=/no/such"]))) == ["rows=/no/such: not there"]
    (told,) = faults(list(single_stage.findings("train", given, ["loop.stepz=1"])))
    assert "stepz" in told


def test_an_ingest_s_data_are_looked_for(tmp_path: Path) -> None:
    given = tmp_path / "ingest.yaml"
    given.write_text(f"output: {tmp_path}/o\nsources: [{{source: ham10000, path: {tmp_path}/ham}}]")
    (found,) = [f for f in single_stage.findings("ingest", given, []) if f.level == "fault"]
    assert found.what == f"sources.0.path={tmp_path}/ham: ham10000: not there" and "download it from" in found.advice


def test_what_a_run_names(tmp_path: Path) -> None:
    """A hub's weights are fetched; a data set is not."""
    stages = "stages: {ingest: {sources: [{source: ddi, path: gone}]}, caption: {rows: {from: ingest}, captioner: a/b}}"
    (tmp_path / "run.yaml").write_text(f"output: {tmp_path}\n{stages}")
    told = {str(finding): finding.level for finding in whole_run.findings(tmp_path / "run.yaml", [])}
    assert any("a valid run of 2 stages" in text and level == "ok" for text, level in told.items())
    assert any("stages.ingest.sources.0.path=gone" in text and level == "fault" for text, level in told.items())
    assert any("stages.caption.captioner=a/b" in text and level == "warning" for text, level in told.items())
    phantoms = ["stages.ingest.sources=[{source: phantom}]", "stages.caption=null"]
    assert {finding.level for finding in whole_run.findings(tmp_path / "run.yaml", phantoms)} == {"ok"}
    [wrong] = whole_run.findings(tmp_path / "run.yaml", ["stages.caption.rows={from: nothing}"])
    assert wrong.level == "fault" and "this run has no stage named 'nothing'" in str(wrong)


def test_a_run_that_lacks_gpus_and_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("A_KEY", raising=False)
    (tmp_path / "run.yaml").write_text(
        f"""output: {tmp_path}
stages:
  ingest: {{sources: [{{source: phantom}}]}}
  caption:
    rows: {{from: ingest}}
    engine: {{gpus: 1}}  # which an endpoint does without
    remote: {{base_url: "http://127.0.0.1:1/v1", model: m, key_variable: A_KEY}}
  train: {{rows: {{from: caption}}, family: flux_lora, model: {{base: a/b}}, loop: {{steps: 1, gpus_per_worker: 1}}}}
"""
    )
    monkeypatch.setattr(gpus, "memories_here", list)
    key, none = faults(list(whole_run.findings(tmp_path / "run.yaml", [])))
    assert key == "stages.caption.remote.key_variable=A_KEY: this environment variable is not set"
    assert none == "this machine has no GPU, and these ask for some: stages.train.loop.gpus_per_worker=1"
    monkeypatch.setattr(gpus, "memories_here", lambda: [1 << 34])
    assert faults(list(whole_run.findings(tmp_path / "run.yaml", []))) == [key]


def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert [finding.level for finding in cluster.findings()] == ["ok"]


def test_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = call_cli(capsys, "doctor", "--output", str(tmp_path), "--config", "train/flux_lora_nano", "rows=/no")
    assert code == 1 and "fault    rows=/no: not there\n         make it first" in out and out.endswith("\n1 fault\n")
    code, _, error = call_cli(capsys, "doctor", "--config", str(tmp_path / "x.yaml"))
    assert code == 2 and "x.yaml: no such file" in error
    (tmp_path / "x.yaml").write_text("rows: /no")
    code, _, error = call_cli(capsys, "doctor", "--config", str(tmp_path / "x.yaml"))
    assert code == 2 and "whose is it? It is no run's (no `stages`), so give --stage, one of" in error


def test_what_is_asked_without_a_config_or_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = call_cli(capsys, "doctor", "papers/dermasynth")
    assert code == 2 and "got no --config" in error and "write --config papers/dermasynth" in error
    code, _, error = call_cli(capsys, "doctor", "scale=paper")
    assert code == 2 and "expected one that scale=paper overrides" in error
    code, _, error = call_cli(capsys, "doctor", "--config", "train/flux_lora_nano", "--config", "caption/nano")
    assert code == 2 and "--config caption/nano: given twice, train/flux_lora_nano before; expected one" in error
