"""Directories of datasets.save_to_disk, written by pyarrow in the same format: stream files beside two JSON files."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dermray import storage
from dermray.datasets.hf_dataset import SourceConfig, arrow_files, samples
from dermray.datasets.samples import Told, parts, require_columns

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["nv", "mel"], "_type": "ClassLabel"},
            "fst": {"dtype": "int64", "_type": "Value"}}  # fmt: skip


def saved(folder: Path, rows: list[dict[str, Any]], split: str | None = None, features: Any = FEATURES) -> Path:
    """A folder as Dataset.save_to_disk writes it, in batches of two rows."""
    folder.mkdir(parents=True)
    schema = pa.schema([("image", IMAGE), ("label", pa.int64()), ("fst", pa.int64())])
    table = pa.Table.from_pylist(rows, schema=schema)
    with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        stream.write_table(table, max_chunksize=2)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "f", "_split": split}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"citation": "", "features": features}))
    return folder


def row(image: bytes | None, label: int | None = 1, path: str | None = None, fst: int | None = None) -> dict[str, Any]:
    return {"image": {"bytes": image, "path": path}, "label": label, "fst": fst}


def rows_of(folder: Path | str, **given: Any) -> list[dict[str, Any]]:
    given = {"columns": {"diagnosis": "label"}, "malignant_classes": ["mel"], "benign_classes": ["nv"]} | given
    config, rows, told = SourceConfig(path=str(folder), **given), list[dict[str, Any]](), Told()
    for part in arrow_files(config.path, config.image_column):
        for sample in samples(part, config, images=False):
            told.add(sample, config)
        for table in parts(samples(part, config), config):
            rows += table.to_pylist()
    assert len({r["source_id"] for r in rows}) == len(rows) == told.samples
    require_columns(told, config)
    return rows


def test_a_dictionary_of_splits(tmp_path: Path) -> None:
    saved(tmp_path / "train", [row(b"A", 0, fst=6), row(b"B", 1), row(b"C", 1)])
    saved(tmp_path / "validation", [row(b"D", 0)])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    read = rows_of(tmp_path, columns={"diagnosis": "label", "fitzpatrick": "fst"})
    assert [(r["image"], r["diagnosis"], r["malignant"], r["split"]) for r in read] == [
        (b"A", "nv", False, "train"), (b"B", "mel", True, "train"), (b"C", "mel", True, "train"),
        (b"D", "nv", False, "val"),
    ]  # fmt: skip
    assert read[2]["source_id"] == "train/data-00000-of-00001.arrow/2" and read[0]["skin_tone"] == "C"


def test_a_single_data_set_whose_split_its_state_names(tmp_path: Path) -> None:
    read = rows_of(saved(tmp_path / "one", [row(b"A", 0), row(b"B", 1)], "test"))
    assert [r["split"] for r in read] == ["test", "test"]


def test_awkward_rows(tmp_path: Path) -> None:
    # a label of -1 is none (datasets' ClassLabel of an unlabelled test split); an image by its path alone, as
    # `cast_column("image", Image())` over paths leaves it, from another machine; neither bytes nor path
    rows = [row(b"A", -1), row(None, 0, "/home/ann/derm/nv/1.jpg"), row(None, 1), row(b"D", None)]
    (tmp_path / "images" / "nv").mkdir(parents=True)
    (tmp_path / "images" / "nv" / "1.jpg").write_bytes(b"x")
    a, b, c, d = rows_of(saved(tmp_path / "d", [*rows[:3], rows[3]]), images="../images", malignant_classes=[])
    assert (a["diagnosis"], a["malignant"]) == (d["diagnosis"], d["malignant"]) == (None, None)
    assert b["image"] is None and Path(b["uri"]).resolve() == tmp_path / "images" / "nv" / "1.jpg"
    assert (c["status"], c["reason"]) == ("failed", "row without an image")


def test_what_save_to_disk_did_not_write(tmp_path: Path) -> None:
    # huggingface/datasets#3700: people take directories of load_dataset and of save_to_disk for one another
    (tmp_path / "hub").mkdir()
    with pytest.raises(ValueError, match="as datasets' save_to_disk writes them"):
        arrow_files(f"{tmp_path}/hub", "image")
    folder = saved(tmp_path / "x", [row(b"A" * 4000)] * 4)
    with pytest.raises(
        ValueError, match=r"image_column='photo': expected a column of the feature Image, one of \['image'\]"
    ):
        arrow_files(str(folder), "photo")
    file = folder / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:6000])
    with pytest.raises(ValueError, match="not whole"):
        rows_of(folder)
    with pytest.raises(FileNotFoundError, match="no such directory"):
        arrow_files(f"{tmp_path}/gone", "image")


def test_from_s3_in_place(bucket: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "d", [row(bytes([i]) * 999, i % 2) for i in range(9)])
    for file in folder.iterdir():
        storage.write_bytes(f"{bucket}/saved/{file.name}", file.read_bytes())
    read = rows_of(f"{bucket}/saved")
    assert len(read) == 9 and read == rows_of(folder)
