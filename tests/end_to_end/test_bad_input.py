"""What goes wrong on real machines: a clear message, an exit code, nothing half-written."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.stand_in_engine import StandIn
from dermray import manifest
from dermray.captioning import choose
from dermray.captioning import run as captioning
from dermray.config import validate
from dermray.datasets import ingest
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.failures import plain_cause
from dermray.manifest import Result
from dermray.records import read_columns
from dermray.synthesis import run as synthesis
from dermray.synthesis.settings import SynthesisConfig
from dermray.training import run as training
from tests.classification import made_rows
from tests.conftest import call_cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def ingest_folder(folder: Path, output: Path, **settings: Any) -> Result:
    source = {"source": "folder", "path": str(folder), "malignant_classes": ["mel"], "benign_classes": ["nv"]}
    return ingest.run(validate(ingest.IngestConfig, {"output": str(output), "sources": [source]} | settings))


def image_folder(folder: Path, benign: int = 12, malignant: int = 12) -> Path:
    """Class folders of phantoms."""
    for name, count, first in (("nv", benign, 0), ("mel", malignant, 100)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            row = phantom_row(first + i, SourceConfig(count=200, duplicates=0, broken=0))
            (folder / name / f"{i}.png").write_bytes(row["image"])
    return folder


def test_broken_files_become_rows_with_a_reason(local_ray: None, tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "in")
    good = (folder / "nv" / "0.png").read_bytes()
    (folder / "nv" / "empty.png").write_bytes(b"")
    (folder / "nv" / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "nv" / "text.jpg").write_text("I am no image")
    (folder / "nv" / "copy.png").write_bytes(good)
    (folder / "mel" / "same.png").write_bytes((folder / "nv" / "1.png").read_bytes())  # and is used under neither label
    Image.new("RGB", (3, 2), (9, 9, 9)).save(folder / "nv" / "tiny.png")  # and is kept with its size
    rows = ingest_folder(folder, tmp_path / "out").manifest.rows
    assert (rows.rows_in, rows.ok, rows.rejected, rows.failed) == (30, 24, 6, 0)
    assert rows.reasons == {
        "rejected: empty file": 1,
        "rejected: truncated or damaged image": 1,
        "rejected: not an image: expected JPEG, PNG, WebP, TIFF, BMP or GIF": 1,
        "rejected: exact duplicate of another file": 1,
        "rejected: same image under conflicting labels: diagnosis, entity, malignant": 2,
    }


def test_a_table_as_people_write_it(local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Semicolons, Windows-1252, other cases, two folders, ids that mean nobody, ages that are none, a file that is
    gone, a short line."""
    folder = image_folder(tmp_path / "in")
    ages = ["45,5", "999", "85+", "inf"]
    lines = [f"{i};NV ;{'N/A' if i < 6 else f'P{i}'};{ages[i % 4]};ü" for i in range(12)]
    for i in range(12):  # the two folders must not hold the same names
        (folder / "mel" / f"{i}.png").rename(folder / "mel" / f"m{i}.png")
        lines.append(f"m{i};Mel;P{i + 20};40;ü")
    lines.append("gone;NV;P99;40;ü")
    (folder / "t.csv").write_bytes("\r\n".join(["Bild;DX;Patient;Age;Größe", *lines, "short;NV"]).encode("cp1252"))
    source = {"source": "folder", "name": "clinic", "path": str(folder), "table": "t.csv", "images": ["nv", "mel"],
              "extension": ".png", "image_column": "bild", "malignant_classes": ["mel"], "benign_classes": ["nv"],
              "columns": {"diagnosis": "dx", "patient_id": "patient", "age": "age"}}  # fmt: skip
    result = ingest.run(validate(ingest.IngestConfig, {"output": str(tmp_path / "out"), "sources": [source]}))
    rows, facts = result.manifest.rows, result.manifest.metrics
    assert (rows.rows_in, rows.ok, rows.failed) == (26, 24, 2)
    assert rows.reasons == {
        "failed: image file missing": 1,
        "failed: table row of 2 cells, expected the header's 5; complete it, or quote the cell that holds the "
        "delimiter": 1,
    }
    table = read_columns(
        f"{result.data}/rows", ["source_id", "patient_id", "malignant", "age", "cell_issues", "reason"]
    )
    by_id = {row["source_id"]: row for row in table.to_pylist()}
    assert sum(row["patient_id"] is None for row in by_id.values()) == 6 + 1
    assert [by_id[str(i)]["age"] for i in range(4)] == [45.5, None, 85, None]
    assert by_id["1"]["cell_issues"][0].endswith("t.csv line 3: '999'")
    assert by_id[f"{folder}/t.csv line 27"]["reason"].endswith("@ t.csv line 27")
    assert facts["sources"][0]["table"]["columns_not_read"] == ["Größe"]
    assert facts["sources"][0]["table"]["encoding"] == "cp1252" and facts["missing"]["clinic"]["patient_id"] == 7
    (issue,) = facts["cell_issues"].values()
    assert issue["count"] == 6
    said = capsys.readouterr().out
    assert "columns not read: Größe" in said and "6 cells make no sense: age: expected years" in said


def message_of(call: Any) -> str:
    with pytest.raises(Exception) as error:  # noqa: PT011  # what the command line makes of it is what counts
        call()
    return str(plain_cause(error.value))


def test_empty_folder_one_patient_and_no_usable_image(local_ray: None, tmp_path: Path) -> None:
    (tmp_path / "empty" / "nv").mkdir(parents=True)
    assert "no file found; expected <class>" in message_of(lambda: ingest_folder(tmp_path / "empty", tmp_path / "o1"))
    lonely = image_folder(tmp_path / "lonely", malignant=1)
    assert "class 'malignant' has 1 independent patient" in message_of(lambda: ingest_folder(lonely, tmp_path / "o2"))
    for name in ("nv", "mel"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "x.png").write_text("no")
    assert "none of 2 rows is usable" in message_of(lambda: ingest_folder(tmp_path / "bad", tmp_path / "o3"))
    for name in ("o1", "o2", "o3"):
        assert not (tmp_path / name / "manifest.json").exists()


def test_missing_path_and_credentials_end_with_a_message(
    local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = f"sources=[{{source: ham10000, path: {tmp_path}/none}}]"
    code, _, said = call_cli(capsys, "ingest", "--config", "ingest/phantom", sources, f"output={tmp_path}/o")
    assert code == 1 and "no such metadata table; check the source's path" in said
    nothing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_CONFIG_FILE": "/none",
               "AWS_SHARED_CREDENTIALS_FILE": "/none", "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip
    for name, value in nothing.items():
        monkeypatch.setenv(name, value)
    code, _, said = call_cli(capsys, "ingest", "--config", "ingest/phantom", "output=s3://bucket/o")
    assert code == 1 and "set AWS_ACCESS_KEY_ID" in said


def test_all_captions_rejected(local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is a fake that says nothing: this is about what becomes of its answers."""

    class Silent(StandIn):
        def answer(self, rows: Any, ask: Any) -> Any:
            return super().answer(rows, ask).map(lambda row: row | {"text": ""})

    monkeypatch.setattr(choose, "prepared", Silent().prepared)
    made_rows.result(f"{tmp_path}/ingest", "ingest", made_rows.phantoms(60))
    config = {"output": f"{tmp_path}/caption", "rows": f"{tmp_path}/ingest", "captioner": str(tmp_path)}
    text = message_of(lambda: captioning.run(validate(captioning.CaptionConfig, config)))
    assert "no caption out of" in text and "empty answer" in text and "another captioner" in text
    assert not (tmp_path / "caption" / "manifest.json").exists()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    place = tmp_path / "full"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=False).returncode
    ):
        pytest.skip("mounting a small tmpfs needs root")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_disk_full_in_training(small_run: Path, full_disk: Path) -> None:
    config = {
        "output": f"{full_disk}/train",
        "rows": f"{small_run}/caption",
        "model": {"image_size": 32},
        "loop": {"steps": 5, "batch_size": 4, "max_failures": 0},
    }
    text = message_of(lambda: training.run(validate(training.TrainConfig, config)))
    assert "MB free, but checkpoints of" in text and "make room" in text, "found before the first step"
    assert not (full_disk / "train" / "manifest.json").exists()


def test_disk_full_in_synthesis(small_run: Path, full_disk: Path) -> None:
    filling = full_disk / "filling"
    filling.write_bytes(b"0" * (2 << 20) + b"0" * (900 << 10))
    config = {
        "output": f"{full_disk}/generate",
        "rows": f"{small_run}/caption",
        "generator": f"{small_run}/train",
        "count": 60,
        "sampling_steps": 2,
        "actors": 1,
        "gate": {"training_steps": 10, "planted": 2},
    }
    text = message_of(lambda: synthesis.run(validate(SynthesisConfig, config)))
    assert "No space left on device" in text
    assert not (full_disk / "generate" / "manifest.json").exists()
    filling.unlink()
    result = synthesis.run(validate(SynthesisConfig, config))
    assert manifest.read(result.uri).manifest.rows.rows_in == 60, "the same command goes on once there is room"


def test_rows_of_another_run_are_refused(small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [f"generator={small_run}/train", f"rows={small_run}/ingest", f"output={tmp_path}/g"]
    code, _, said = call_cli(capsys, "generate", "--config", "generate/nano", *given)
    assert code == 1 and "result of stage 'ingest', expected one of 'caption'" in said
