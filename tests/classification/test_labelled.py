from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dermray.classification.labelled import read
from dermray.manifest import Manifest, Result, Rows
from dermray.records import IMAGES, conform


def result(directory: Path, rows: list[dict[str, Any]]) -> Result:
    """A result of these rows, each of which is usable, of the train split and of a group of its own, if not told."""
    usual = {"status": "ok", "origin": "real", "split": "train", "image": b""}
    given = [usual | {"sample_id": f"{i:064x}", "leak_group": str(i)} | row for i, row in enumerate(rows)]
    (directory / "data" / "rows").mkdir(parents=True)
    pq.write_table(conform(given, IMAGES), directory / "data" / "rows" / "0.parquet")
    told = {"stage": "ingest", "key": "k", "config": {}, "inputs": {}, "data": "data", "versions": {}}
    counts = Rows(rows_in=len(rows), ok=len(rows), rejected=0, failed=0)
    return Result(str(directory), Manifest(**told, rows=counts, started=0, seconds=0, cpus=0, gpus=0))


ENTITIES = [("nv", "train"), ("mel", "train"), (None, "train"), ("nv", "val"), ("df", "test"), ("mel", "test")]


def test_images_without_a_class_of_the_train_split_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [{"entity": entity, "split": split, "skin_tone": "A"} for entity, split in ENTITIES]
    rows.append({"entity": "bcc", "status": "rejected", "reason": "x"})
    data = read("entity", (), result(tmp_path, rows))
    assert data.target.classes == ("mel", "nv") and data.unknown == 2
    assert data.images == {
        "train": {"mel": 1, "nv": 1, "unknown": 1},
        "val": {"mel": 0, "nv": 1},
        "test": {"mel": 1, "nv": 0, "unknown": 1},
    }
    assert data.splits["train"].labels.tolist() == [1, 0] and data.splits["test"].labels.tolist() == [0]
    assert data.splits["test"].sample_ids == [f"{5:064x}"] and data.splits["test"].tones == ["A"]
    assert len(data.picked) == 4


def test_synthetic_images_are_trained_on_too(tmp_path: Path) -> None:
    real = result(tmp_path / "real", [{"malignant": True}, {"malignant": None}, {"malignant": False, "split": "test"}])
    drawn = result(tmp_path / "drawn", [{"malignant": False, "leak_group": None, "sample_id": "f" * 64}])
    data = read("malignant", (), real, drawn)
    assert data.splits["train"].labels.tolist() == [1, 0] and data.images["train"] == {
        "benign": 1, "malignant": 1, "unknown": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("column", "classes", "message"),
    [
        ("entities", (), "column=entities: no label column; expected one of"),
        ("sex", (), "column=sex: expected at least two classes, each once, got none: all are unknown"),
        ("malignant", (), "no training image of malignant among 2 usable rows of the train split"),
        ("entity", ("nv", "mel", "df"), "no training image of df among"),
        ("entity", ("nv",), "at least two classes, each once, got nv"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(
    column: str, classes: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    rows = [{"malignant": False, "entity": "nv"}, {"malignant": False, "entity": "mel"}]
    with pytest.raises(ValueError, match=message):
        read(column, classes, result(tmp_path, rows))


def test_rows_that_leak_are_refused(tmp_path: Path) -> None:
    rows = [{"malignant": i == 0, "leak_group": "g", "split": split} for i, split in enumerate(("train", "test"))]
    with pytest.raises(ValueError, match="leak: group 'g' lies in both"):
        read("malignant", (), result(tmp_path, rows))
