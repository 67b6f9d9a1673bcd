"""The stage over Ray. Engines are stand-ins that answer in JSON: this is about rows. For vLLM see test_hosted.py."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.stand_in_engine import StandIn, model_directory
from dermray import cli, manifest
from dermray.captioning import choose
from dermray.config import ConfigError, validate
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.manifest import Result, Rows
from dermray.records import IMAGES, INSTRUCTED, conform, read_columns
from dermray.vlm.instruct.questions import questions
from dermray.vlm.instruct.run import InstructConfig, run
from tests.captioning.endpoint import KEY, Endpoint, completion, serving
from tests.classification import made_rows
from tests.conftest import call_cli

ROOT = Path(__file__).parent.parent.parent.parent
GENERAL = "A brown, symmetric lesion with a sharp border."
SPECIFIC = (
    "A regular network fades at the edge.",
    "This man has a regular network.",
    "I'm sorry, I can't help with that.",
)


def ingested(directory: Path, count: int) -> str:
    return made_rows.result(f"{directory}/ingest", "ingest", made_rows.phantoms(count, seed=11)).uri


class Answering(StandIn):
    """Has a good general answer; of the others some are bad, by the image. At first it is silent about some."""

    def answer(self, rows: Any, ask: Any) -> Any:
        def said(row: dict[str, Any]) -> dict[str, Any]:
            number = int(row["sample_id"][:8], 16)
            answers = {"general": GENERAL, "specific": SPECIFIC[number % 3]}
            silent = number % 4 == 0 and not row.get("attempts")
            return row | {"text": "" if silent else json.dumps(answers)}

        return super().answer(rows, ask).map(said)


@pytest.mark.slow
def test_the_whole_stage_and_a_retry(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ingested(tmp_path, 60)
    base = ["instruct", "--config", "instruct/nano", f"rows={rows}", f"captioner={model_directory(str(tmp_path))}"]
    monkeypatch.setattr(choose, "prepared", Answering().prepared)
    code, printed, _ = call_cli(capsys, *base, f"output={tmp_path}/first")
    first = manifest.read(f"{tmp_path}/first", "instruct")
    counts, told = first.manifest.rows, first.manifest.metrics["instruct"]
    assert code == 0 and counts.rows_in == manifest.read(rows).manifest.rows.ok
    assert counts.reasons == {"rejected: no usable pair: empty answer": counts.rejected} and counts.rejected > 5
    assert first.manifest.licences == manifest.read(rows).manifest.licences

    table = pq.read_table(f"{first.data}/rows")
    assert table.schema.equals(INSTRUCTED)
    found = table.to_pylist()
    source = read_columns(f"{manifest.read(rows).data}/rows", ["sample_id", "image"], pc.field("status") == "ok")
    assert {r["sample_id"]: r["image"] for r in found} == {r["sample_id"]: r["image"] for r in source.to_pylist()}
    for row in found:
        assert [pair["question"] for pair in row["pairs"]] == [question.text for question in questions(row)]
        assert (row["status"] == "ok") == any(pair["status"] == "ok" for pair in row["pairs"])
    reasons = Counter(pair["reason"] for row in found for pair in row["pairs"] if pair["reason"])
    statistics = told["statistics"]
    assert statistics["rejected"] == dict(reasons) and reasons["refusal"] > 0
    assert any("sex" in reason or "quotes" in reason for reason in reasons)
    assert statistics["pairs"] == 2 * counts.rows_in
    assert statistics["pairs_ok"] == sum(pair["status"] == "ok" for row in found for pair in row["pairs"])
    assert sum(line["images"] for line in statistics["by_source"]) == counts.rows_in
    assert json.loads(Path(first.data, "summary.json").read_text()) == told
    assert "usable by kind: general " in printed and f"page: {first.data}/page.html" in printed
    page = Path(first.data, "page.html").read_text()
    assert GENERAL in page and "no usable pair: empty answer" in page and "data:image/png;base64" in page
    assert sorted(os.listdir(first.data)) == ["page.html", "rows", "summary.json"]

    call_cli(capsys, *base, f"output={tmp_path}/again", "--retry-failed", f"{tmp_path}/first")
    again = manifest.read(f"{tmp_path}/again", "instruct")
    assert again.manifest.rows.ok == again.manifest.rows.rows_in == counts.rows_in
    assert again.manifest.metrics["instruct"]["last_start"]["rows"] == counts.rejected
    statistics = again.manifest.metrics["instruct"]["statistics"]
    assert statistics["images"] == statistics["images_with_pairs"] == counts.rows_in, "those of the earlier one too"
    own = read_columns(f"{again.data}/rows", ["attempts"])["attempts"].to_pylist()
    assert own == [2] * counts.rejected
    code, _, said = call_cli(capsys, *base, f"output={tmp_path}/third", "--retry-failed", again.uri)
    assert code == 1 and "all its rows are ok; use that result as it is" in said


class Silent(StandIn):
    """Says nothing."""

    def answer(self, rows: Any, ask: Any) -> Any:
        return super().answer(rows, ask).map(lambda row: row | {"text": '{"general": "", "specific": ""}'})


@pytest.mark.slow
def test_no_pair_at_all_is_no_result(local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "prepared", Silent().prepared)
    config = {"output": f"{tmp_path}/o", "rows": ingested(tmp_path, 24), "captioner": model_directory(str(tmp_path))}
    with pytest.raises(ValueError, match=r"no pair out of 2\d rows is usable: .*empty answer.*another captioner"):
        run(validate(InstructConfig, config))
    assert not (tmp_path / "o" / "manifest.json").exists()


DRIVER = """
import sys
from dermray.config import load
from dermray.vlm.instruct import run
run.run(load(run.InstructConfig, sys.argv[1]))
"""


class Gated(Endpoint):
    """Answers so many, then waits until it may go on; counts by image, and keeps the schemas that it was asked for."""

    schemas: set[str] = set()
    first = 60
    may_go_on = threading.Event()

    def reply(self, body: str) -> None:
        asked = json.loads(body)
        self.count(asked["messages"][0]["content"][0]["image_url"]["url"])
        self.schemas.add(json.dumps(asked["response_format"]["json_schema"]["schema"]))
        if self.tries.total() > self.first:
            self.may_go_on.wait()
        self.send(200, completion(json.dumps({"general": GENERAL, "specific": SPECIFIC[0]})))


@pytest.mark.slow
@pytest.mark.soak  # in CI: captions over an endpoint (test_remote.py), rounds that are cut off (test_second_round.py)
def test_a_killed_job_over_an_endpoint_goes_on(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver and all of its Ray are killed once some blocks are written; others cannot be before the kill."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    rows = ingested(tmp_path, 96)
    with serving(Gated) as address:
        config = {
            "output": f"{tmp_path}/instruct", "rows": rows, "rows_per_block": 12,
            "remote": {"base_url": address, "model": "m", "concurrency": 3, "not_sent": ["seed"]},
        }  # fmt: skip
        (tmp_path / "instruct.yaml").write_text(json.dumps(config))
        command = [sys.executable, "-c", DRIVER, str(tmp_path / "instruct.yaml")]
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        with subprocess.Popen(command, cwd=ROOT, env=environment) as job:
            while not list(tmp_path.glob("instruct/data-*/rows/*.parquet")) and job.poll() is None:
                time.sleep(0.02)
            its = psutil.Process(job.pid).children(recursive=True)
            for process in [psutil.Process(job.pid), *its]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        psutil.wait_procs(its, timeout=30)
        Gated.may_go_on.set()
        result: Result = run(validate(InstructConfig, config))
    total = result.manifest.rows.ok
    assert total == result.manifest.rows.rows_in == len(Gated.tries) > Gated.first
    assert result.manifest.metrics["instruct"]["starts"] == 2
    assert Gated.tries.total() - total <= 3, "all but what the client had under way was asked once"
    table = read_columns(result.row_files(), ["sample_id", "captioner", "pairs"]).to_pylist()
    assert len({row["sample_id"] for row in table}) == len(table) == total
    assert {pair["status"] for row in table for pair in row["pairs"]} == {"ok"}
    (schema,) = Gated.schemas
    assert json.loads(schema)["required"] == ["general", "specific"]


def result_of(stage: str, directory: Path, rows: list[dict[str, Any]]) -> str:
    """A finished result with these rows."""
    with manifest.work(stage, f"{directory}/{stage}", SourceConfig(count=8), {}) as work:
        Path(work.data, "rows").mkdir(parents=True)
        pq.write_table(conform(rows, IMAGES), Path(work.data, "rows", "a.parquet"))
        work.commit(Rows(rows_in=len(rows), ok=len(rows), rejected=0, failed=0), len(rows))
    return f"{directory}/{stage}"


def phantoms(count: int) -> list[dict[str, Any]]:
    source = SourceConfig(count=count, broken=0, duplicates=0)
    return [phantom_row(i, source) | {"status": "ok", "sample_id": f"{i:064x}"} for i in range(count)]


def test_a_preview_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("dermray.cluster.connect", refuse)
    rows = result_of("ingest", tmp_path, phantoms(8))
    cli.main(["instruct", "--config", "instruct/nano", f"rows={rows}", "--preview", "5"])
    shown = capsys.readouterr().out.split("\n---\n")
    assert len(shown) == 5 and all("- image type: " in text and "specific: " in text for text in shown)
    assert not any("- skin tone: " in text for text in shown), "the preset tells the model the modality alone"


def test_wrong_input_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermray.cluster.connect", lambda *_: pytest.fail("Ray was started"))
    model = model_directory(str(tmp_path))
    base = {"output": f"{tmp_path}/o", "rows": f"{tmp_path}/none", "captioner": model}
    with pytest.raises(FileNotFoundError, match="does not exist; run the ingest stage first"):
        run(validate(InstructConfig, base))
    other = result_of("caption", tmp_path, phantoms(2))
    with pytest.raises(ValueError, match="result of stage 'caption', expected one of 'ingest'"):
        run(validate(InstructConfig, base | {"rows": other}))
    rows = result_of("ingest", tmp_path, phantoms(2))
    with pytest.raises(FileNotFoundError, match="no such directory"):
        run(validate(InstructConfig, base | {"rows": rows, "captioner": f"{tmp_path}/nothing"}))
    with pytest.raises(ValueError, match="result of stage 'ingest', expected one of 'instruct'"):
        run(validate(InstructConfig, base | {"rows": rows, "retry_failed": rows}))
    for wrong, message in (
        ({"context": ["colour"]}, r"context=\['colour'\]: expected names out of"),
        ({"near_duplicate": 0.0}, "near_duplicate=0"),
        ({"most_characters": 3}, "most_characters=3"),
        ({"captioner": None}, "give either captioner"),
        ({"sampling": {"temperature": 0.7}}, "sampling.temperature=0.7: expected 0 where engine.gpus=0"),
        ({"sampling": {"max_tokens": 600}}, "sampling.max_tokens=600: expected less than engine.max_model_len=512"),
    ):
        with pytest.raises(ConfigError, match=message):
            validate(InstructConfig, base | wrong)
