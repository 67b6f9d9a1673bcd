"""The stage makes the gate, and rows, manifest and page say what it saw."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray import manifest
from dermray.config import ConfigError, validate
from dermray.records import read_columns
from dermray.row_files import RowFiles
from dermray.serving.drawing.gate import open_gate
from dermray.synthesis import run as synthesis
from dermray.synthesis.gate import building, calibrating
from dermray.synthesis.gate.calibrating import require_held_out
from dermray.synthesis.gate.calibration import calibrated
from dermray.synthesis.gate.copies import KINDS
from dermray.synthesis.gate.page import FILE
from dermray.synthesis.settings import SynthesisConfig

NEAR = ["nearest_distance", "embedded_distance", "nearest_sample_id", "embedded_sample_id"]


def generate(run: Path, output: Path, **changed: Any) -> manifest.Result:
    gate = {"training_steps": 10, "planted": 3, "calibration_images": 30}
    return draw(run, output, **{"gate": gate} | changed)


def draw(run: Path, output: Path, **changed: Any) -> manifest.Result:
    config = {"generator": f"{run}/train", "rows": f"{run}/caption", "count": 12, "sampling_steps": 2, "batch_size": 4,
              "actors": 1}  # fmt: skip
    return synthesis.run(validate(SynthesisConfig, config | {"output": str(output)} | changed))


@pytest.mark.slow
def test_the_gate_of_a_stage(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:  # thresholds by which some images are rejected: these here are mush
        patch.setattr(calibrating, "calibrated", lambda distances, rate: calibrated(distances, rate).model_copy(
            update={"pixels": 0.95}))  # fmt: skip
        first = generate(small_run, tmp_path / "one")
    said = capsys.readouterr().out
    assert "held-out real images are too few for the gate's false rate of 0.01" in said
    assert "planted copies caught: unchanged 100%" in said
    rows = read_columns(first.row_files(), ["plan_id", "image", "status", "reason", *NEAR]).sort_by("plan_id")
    training = set(
        read_columns(f"{manifest.read(f'{small_run}/caption').data}/rows", ["sample_id"])["sample_id"].to_pylist()
    )
    for row in rows.to_pylist():
        assert {row["nearest_sample_id"], row["embedded_sample_id"]} <= training
        assert (row["status"] == "rejected") == (row["reason"] is not None)
        assert ("pixels" in (row["reason"] or "")) == (row["nearest_distance"] < 0.95)
    gate = first.manifest.metrics["gate"]
    assert gate["images"] > 80 and list(gate["calibration"]["recall"]) == list(KINDS)
    assert gate["calibration"]["recall"]["unchanged"] == {
        "planted": 3, "caught": 1.0, "by_pixels": 1.0, "by_embedding": 1.0, "named": 1.0
    }  # fmt: skip
    page = Path(first.data, FILE).read_text()
    rejected = [row for row in rows.to_pylist() if row["status"] == "rejected"]
    assert f"{len(rejected)} images rejected" in page and all(kind in page for kind in KINDS)
    assert page.count("data:image/png") == 3 * 12, "each image beside both its neighbours"
    assert page.index(min(rejected, key=lambda row: row["nearest_distance"])["reason"]) > 0
    served = open_gate(first.uri, first.manifest.inputs["generator"])
    assert served._gate.calibration.pixels == 0.95

    again = generate(small_run, tmp_path / "two", actors=2, gate=first.manifest.config["gate"], batch_size=3)
    other = read_columns(again.row_files(), ["plan_id", "image", *NEAR]).sort_by("plan_id")
    assert other.equals(rows.select(other.column_names)), "the same images and numbers, however many actors draw"


@pytest.mark.slow
def test_a_gate_of_an_earlier_drawing(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = generate(small_run, tmp_path / "own")
    with monkeypatch.context() as patch:  # where nothing can be learned and calibrated
        for module, task in ((building, "learn"), (building, "joined"), (calibrating, "_measured")):
            patch.setattr(module, task, None)
        changed = {"gate_of": own.uri, "seed": 1, "count": 6}
        more = draw(small_run, tmp_path / "more", **changed)
    assert more.manifest.inputs["gate_of"] == own.manifest.key
    assert more.manifest.config["gate"] == own.manifest.config["gate"] and more.manifest.config["seed"] == 1
    assert more.manifest.metrics["gate"] == own.manifest.metrics["gate"]
    assert draw(small_run, tmp_path / "more", **changed).manifest.key == more.manifest.key, "a rerun finds it"
    files = {file.name: file.read_bytes() for file in Path(own.data, "gate").iterdir()}
    assert files == {file.name: file.read_bytes() for file in Path(more.data, "gate").iterdir()}
    assert open_gate(more.uri, more.manifest.inputs["generator"])

    made = tmp_path / "own" / Path(own.data).name / "gate" / "index.json"
    index = json.loads(made.read_text())
    for images, message in (
        ("ab12", "its generator learned from other images, or draws another size .hash ab12, and .*train has"),
        (None, "an earlier version of dermray made that gate, which does not say of which images"),
    ):
        made.write_text(json.dumps(index | {"training_images": images}))
        with pytest.raises(ValueError, match=f"gate_of={own.uri}: {message}"):
            draw(small_run, tmp_path / "other", gate_of=own.uri)
    manifest_file = tmp_path / "own" / "manifest.json"
    written = json.loads(manifest_file.read_text())
    manifest_file.write_text(json.dumps(written | {"inputs": written["inputs"] | {"rows": "others"}}))
    with pytest.raises(ValueError, match=r"calibrated with other rows \(key others, these are .*leave gate_of out"):
        draw(small_run, tmp_path / "other", gate_of=own.uri)
    assert not (tmp_path / "other").exists(), "said before anything is made"


def test_a_gate_is_an_earlier_one_or_has_settings() -> None:
    given = {"generator": "g", "rows": "r", "output": "o", "gate_of": "earlier", "gate": {"planted": 3}}
    with pytest.raises(ConfigError, match="gate_of=earlier: that gate has settings of its own; leave out"):
        validate(SynthesisConfig, given)


@pytest.mark.slow
def test_a_gate_that_cannot_be_opened_is_said(small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        generate(small_run, tmp_path / "none", gate={"extractor": {"kind": "timm", "name": "resnet18",
                                                                   "weights": f"{tmp_path}/nowhere.pth"}})  # fmt: skip
    assert not (tmp_path / "none").exists(), "said before anything is made"
    off = generate(small_run, tmp_path / "off", gate={"false_rate": 0, "training_steps": 10, "planted": 2})
    assert off.manifest.rows.rejected == 0
    assert not off.manifest.metrics["gate"]["calibration"]["recall"], "nothing is planted where nothing is caught"
    page = Path(off.data, FILE).read_text()
    assert "The gate was off" in page and "rejected below" not in page and page.count("data:image/png") == 3 * 12
    key = off.manifest.inputs["generator"]
    with pytest.raises(ValueError, match="made with false_rate=0, and so rejects nothing; leave gate out"):
        open_gate(off.uri, key)
    with pytest.raises(ValueError, match=f"drawn by the generator with key {key}, and the served one is another"):
        open_gate(off.uri, "another")
    file = tmp_path / "off" / "manifest.json"
    old = json.loads(file.read_text())
    old["metrics"]["gate"] = 0.04
    file.write_text(json.dumps(old))
    with pytest.raises(ValueError, match="made by an earlier version of dermray, without an index; run the generate"):
        open_gate(off.uri, key)


@pytest.mark.parametrize("splits", [["train", "train"], ["train", None]])
def test_rows_without_any_held_out_are_refused_before_anything_is_drawn(
    splits: list[str | None], tmp_path: Path
) -> None:
    (tmp_path / "rows").mkdir()
    pq.write_table(pa.table({"status": ["ok", "ok"], "split": splits}), tmp_path / "rows" / "0.parquet")
    with pytest.raises(ValueError, match="rows=my/caption: no usable row outside the train split.*gate.false_rate=0"):
        require_held_out(RowFiles(f"{tmp_path}/rows"), "my/caption")
    pq.write_table(pa.table({"status": ["ok", "ok"], "split": ["train", "val"]}), tmp_path / "rows" / "0.parquet")
    require_held_out(RowFiles(f"{tmp_path}/rows"), "my/caption")
