import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.stand_in_engine import StandIn, model_directory
from dermray import cli, manifest, weights
from dermray.captioning import asking, choose, models, prompts
from dermray.captioning.finish import Finish
from dermray.captioning.prepare import Prepare, shown
from dermray.captioning.run import CaptionConfig, run
from dermray.config import ConfigError, validate
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.failures import plain_cause
from dermray.manifest import Rows
from dermray.page_index import PagedColumn
from dermray.records import CAPTIONED, IMAGES, conform, count_rows, read_columns, sample_id
from dermray.training.encode import encode
from tests.classification import made_rows
from tests.tampering import lose_a_row

CONSTANTS = {"captioner": "key", "captioner_revision": "abc", "sampling": "{}"}
PAIRS = '[{"question": "What?", "answer": "An asymmetric patch."}, {"question": "Why?", "answer": "%s"}]'


def answered(**answer: Any) -> dict[str, Any]:
    row = phantom_row(3, SourceConfig(count=9)) | {"status": "ok", "sample_id": "s"}
    columns = {"tokens_in": 80, "tokens_out": 9, "finish_reason": "stop", "engine_error": None, "requests": 1}
    return row | {"question": "?", "unreadable": None} | columns | answer


@pytest.mark.parametrize(
    ("prompt_set", "answer", "status", "reason"),
    [
        ("abc", {"text": "asymmetric lesion, red."}, "ok", None),
        ("abc", {"text": ""}, "rejected", "empty answer"),
        ("abc", {"text": "asymmetric", "finish_reason": "length"}, "rejected", "truncated answer"),
        ("abc", {"text": "A nice picture."}, "rejected", "no ABC attribute in the answer"),
        ("abc", {"text": None, "engine_error": "ValueError: too long"}, "failed", "engine: ValueError: too long"),
        ("abc", {"text": None, "unreadable": "empty file", "requests": None}, "rejected", "empty file"),
        ("attributes-2", {"text": "A nice picture of a mole."}, "ok", None),
        ("structured", {"text": '{"asymmetry": "asym'}, "rejected", "invalid JSON: Unterminated string starting at"),
        ("clinical-qa", {"text": PAIRS % "It is dark."}, "ok", None),
        ("clinical-qa", {"text": PAIRS % "The metadata says melanoma."}, "rejected", "quotes the internal context"),
        ("clinical-qa", {"text": PAIRS % "I’m sorry, I can’t assist with that."}, "rejected", "refusal"),
        ("attributes-2", {"text": "Unfortunately, I won’t be able to help with this image."}, "rejected", "refusal"),
    ],
)
def test_every_row_gets_one_schema_and_one_status(
    prompt_set: str, answer: dict[str, Any], status: str, reason: str | None
) -> None:
    row = Finish(prompt_set, ("malignant", "skin_tone"), CONSTANTS).row(answered(**answer))
    assert (row["status"], row["reason"]) == (status, reason)
    assert conform([row], CAPTIONED).schema == CAPTIONED
    assert (row.get("caption") is None) == (status != "ok")
    assert row["prompt_set"] == f"{prompt_set}@{prompts.version(prompt_set)}" and row["captioner"] == "key"
    assert row["attempts"] == (0 if answer.get("unreadable") else 1)
    if prompt_set == "clinical-qa" and status == "ok":
        assert row["pairs"][1] == {"question": "Why?", "answer": "It is dark."}
        assert row["caption"].endswith(": An asymmetric patch.")


def test_a_bad_image_stays_in_its_block_and_is_never_sent() -> None:
    rows = [phantom_row(i, SourceConfig(count=9, broken=0, duplicates=0)) for i in range(3)]
    rows[1]["image"] = b"not an image"
    table = Prepare("abc", 1024)(conform(rows, IMAGES))
    assert table["unreadable"].to_pylist() == [None, "not an image: expected JPEG, PNG, WebP, TIFF, BMP or GIF", None]
    assert table["shown"].to_pylist()[:2] == [rows[0]["image"], None]


def test_large_images_are_shown_smaller() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), (200, 120, 90)).save(buffer, "PNG")
    assert shown(buffer.getvalue(), 300) == (buffer.getvalue(), None)
    smaller, _ = shown(buffer.getvalue(), 150)
    assert smaller is not None and Image.open(io.BytesIO(smaller)).size == (150, 100)


def test_models_are_found_in_three_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "hub_commit", lambda name, revision: revision)  # the hub is not what this is about
    hub = "llava-hf/llava-1.5-7b-hf"
    assert models.find(hub, "abc") == models.Captioner(hub, hub, "abc", settings={"revision": "abc"})
    both = models.adapted(models.find(hub, "abc"), "some/adapter", "def")
    assert both.settings == {"revision": "abc", "lora": "some/adapter", "lora_revision": "def"}, "for every engine"
    assert (both.name, both.revision) == (f"{hub} + some/adapter", "abc+def"), "for every row"
    (tmp_path / "config.json").write_text("{}")
    first = models.find(str(tmp_path), None)
    assert first.model == first.name == str(tmp_path) and first.revision is not None
    (tmp_path / "config.json").write_text("{ }")
    assert models.find(str(tmp_path), None).revision != first.revision, "other weights, another revision"
    with pytest.raises(FileNotFoundError, match="no such directory"):
        models.find(str(tmp_path / "none"), None)


def test_wrong_words_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    base = {"output": str(tmp_path), "rows": "r", "captioner": "c"}
    for wrong, message in (
        ({"metadata": ["colour"]}, r"metadata=\['colour'\]"),
        ({"prompt_set": "xyz"}, "prompt_set='xyz'"),
        ({"captioner": None}, "give either captioner"),
        ({"remote": {"base_url": "http://x/v1", "model": "m"}}, "give either captioner"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(validate(CaptionConfig, base | wrong))


def test_counts_add_up() -> None:
    rows = Rows.count(Counter({("ok", None): 4, ("rejected", "empty answer"): 2}))
    assert (rows.rows_in, rows.reasons) == (6, {"rejected: empty answer": 2})


class Moody(StandIn):
    """A stand-in that has nothing to say about every third row: what becomes of such rows is the question. Asked again,
    it is silent about a half of them."""

    def answer(self, rows: Any, ask: Any) -> Any:
        def silence(row: dict[str, Any]) -> dict[str, Any]:
            divisor = 6 if row.get("attempts") else 3
            return row | ({"text": ""} if int(row["sample_id"][:8], 16) % divisor == 0 else {})

        return super().answer(rows, ask).map(silence)


@pytest.mark.slow
def test_retry_failed_redoes_only_those(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model_directory(str(tmp_path))
    made_rows.result(f"{tmp_path}/ingest", "ingest", made_rows.phantoms(60))
    base = ["caption", "--config", "caption/nano", f"rows={tmp_path}/ingest", f"captioner={tmp_path}/model"]
    monkeypatch.setattr(choose, "prepared", Moody().prepared)
    cli.main([*base, f"output={tmp_path}/first"])
    first = manifest.read(f"{tmp_path}/first").manifest
    assert 5 < first.rows.reasons["rejected: empty answer"] == first.rows.rejected

    cli.main([*base, f"output={tmp_path}/again", "--retry-failed", f"{tmp_path}/first"])
    again = manifest.read(f"{tmp_path}/again")
    assert 0 < again.manifest.rows.rejected < first.rows.rejected
    assert again.manifest.rows.rows_in == first.rows.rows_in
    assert 0 < again.manifest.metrics["captioning"]["last_start"]["rows"] == first.rows.rejected

    (tmp_path / "record").mkdir()
    monkeypatch.setattr(choose, "prepared", StandIn(record=f"{tmp_path}/record").prepared)
    cli.main([*base, f"output={tmp_path}/second", "--retry-failed", f"{tmp_path}/again"])
    second = manifest.read(f"{tmp_path}/second")
    asked = [i for f in (tmp_path / "record").iterdir() for i in f.read_text().splitlines()]
    rejected = read_columns(f"{again.data}/rows", ["sample_id"], pc.field("status") != "ok")
    assert sorted(asked) == sorted(rejected["sample_id"].to_pylist())
    assert second.manifest.rows.ok == first.rows.rows_in
    assert second.manifest.inputs["retry_failed"] == again.manifest.key
    attempts = read_columns(second.row_files(), ["sample_id", "attempts"]).to_pylist()
    assert len(attempts) == first.rows.rows_in and {row["attempts"] for row in attempts} == {1, 2, 3}
    assert {row["sample_id"] for row in attempts if row["attempts"] == 3} == set(asked)
    own = read_columns(f"{second.data}/rows", ["sample_id"])["sample_id"].to_pylist()
    assert sorted(own) == sorted(asked), "the others were not copied"
    written = [file for stage in ("ingest", "first") for file in (tmp_path / stage).rglob("rows/*.parquet")]
    assert written and all(PagedColumn.open(pa.OSFile(str(f)), pq.ParquetFile(f), "image") for f in written)
    table = read_columns(second.row_files(), ["sample_id", "image"]).to_pylist()
    assert all(sample_id(row["image"]) == row["sample_id"] for row in table)
    usable = pc.field("split") == "train"
    assert encode(second.row_files(), f"{tmp_path}/encoded", [16]) == {16: count_rows(second.row_files(), usable)}
    with pytest.raises(ValueError, match="all its rows are ok; use that result"):
        run(validate(CaptionConfig, {"output": f"{tmp_path}/third", "rows": f"{tmp_path}/ingest",
                                     "captioner": f"{tmp_path}/model", "retry_failed": second.uri}))  # fmt: skip

    told = second.manifest.metrics["captioning"]
    assert told["tokens_out"] == 12 * len(asked), "the earlier job paid for the rows that were kept"

    page = Path(second.data, "page.html").read_text()
    assert "asymmetric lesion, irregular border, red." in page and "rows took more than one request" in page
    assert f"page: {second.data}/page.html" in capsys.readouterr().out


@pytest.mark.slow
def test_a_row_lost_after_it_was_written_is_no_result(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one in which a row is double, or stands in another's place: tests/test_exactly_once.py."""
    made_rows.result(f"{tmp_path}/ingest", "ingest", made_rows.phantoms(60))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")  # the stand-in needs none
    (tmp_path / "record").mkdir()
    monkeypatch.setattr(choose, "prepared", StandIn(record=f"{tmp_path}/record").prepared)
    config = {"output": f"{tmp_path}/lost", "rows": f"{tmp_path}/ingest", "captioner": f"{tmp_path}/model",
              "rows_per_block": 16}  # fmt: skip
    write = asking.stream

    def tampered(asked: Any, data: str, *arguments: Any) -> None:
        write(asked, data, *arguments)
        lose_a_row(data)

    with monkeypatch.context() as patch:
        patch.setattr(asking, "stream", tampered)
        with pytest.raises(Exception, match="no manifest|No manifest") as refused:
            run(validate(CaptionConfig, config))
    assert re.search(
        r"1 of 60 rows are missing, such as [0-9a-f]{64}\. No .*; start again", str(plain_cause(refused.value))
    )
    assert not (tmp_path / "lost" / "manifest.json").exists()
    for note in (tmp_path / "record").iterdir():
        note.unlink()
    again = run(validate(CaptionConfig, config)).manifest.rows
    asked = [i for file in (tmp_path / "record").iterdir() for i in file.read_text().split()]
    assert again.ok == again.rows_in == 60 and len(asked) == 1, "the lost one alone is asked again"


def test_preview_prints_filled_prompts_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("dermray.cluster.connect", refuse)
    rows = [phantom_row(i, SourceConfig(count=9, broken=0, duplicates=0)) | {"status": "ok"} for i in range(8)]
    with manifest.work("ingest", f"{tmp_path}/ingest", SourceConfig(count=8), {}) as work:
        Path(work.data, "rows").mkdir(parents=True)
        pq.write_table(conform(rows, IMAGES), Path(work.data, "rows", "a.parquet"))
        work.commit(Rows(rows_in=8, ok=8, rejected=0, failed=0), 8)
    cli.main(
        ["caption", "--config", "caption/nano", f"rows={tmp_path}/ingest", "prompt_set=attributes-2", "--preview", "5"]
    )
    printed = capsys.readouterr().out.split("---")
    assert len(printed) == 5 and all("on skin tone" in prompt for prompt in printed)
