"""Webdataset shards, made by tarfile as `tar --sort=name` makes them; keys as the library parts them."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dermray import storage
from dermray.datasets.samples import Sample, Told, parts, require_columns
from dermray.datasets.tables import WORDS_KEPT
from dermray.datasets.webdataset import SourceConfig, samples, shards

JSON = {"dx": "mel", "fst": 3, "patient": "P7", "age": None}


def shard(path: Path, files: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") if path.suffix == ".gz" else tarfile.open(path, "w") as tar:
        for name, said in files.items():
            data = said if isinstance(said, bytes) else (said if isinstance(said, str) else json.dumps(said)).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def settings(folder: Path, **given: Any) -> SourceConfig:
    return SourceConfig(path=str(folder), **given)


def rows_of(config: SourceConfig) -> list[dict[str, Any]]:
    """All rows, which the first pass without images counted right."""
    rows, told = list[dict[str, Any]](), Told()
    for name, uri in shards(config.path)[0].items():
        for sample in samples(uri, name, config, images=False):
            told.add(sample, config)
        for table in parts(samples(uri, name, config), config):
            rows += table.to_pylist()
    assert told.samples == len(rows) and len({row["source_id"] for row in rows}) == len(rows)
    require_columns(told, config)
    return rows


def test_samples_of_all_shards_with_their_columns_and_splits(tmp_path: Path) -> None:
    shard(tmp_path / "train-000000.tar", {"a.jpg": b"A", "a.json": JSON, "b.JPG": b"B", "b.json": JSON | {"dx": "nv"}})
    shard(tmp_path / "test" / "000001.tar.gz", {"./x/a.png": b"C", "./x/a.json": {"dx": "wart"}})
    (tmp_path / "README.md").write_text("shards")
    columns = {"diagnosis": "dx", "fitzpatrick": "fst", "patient_id": "patient"}
    config = settings(tmp_path, name="clinic", columns=columns, malignant_classes=["mel"], benign_classes=["nv"])
    first, second, third = sorted(rows_of(config), key=lambda row: row["image"])
    expected = {"source": "clinic", "source_id": "train-000000.tar/a", "diagnosis": "mel", "malignant": True,
                "entity": "mel", "fitzpatrick": 3, "skin_tone": "B", "patient_id": "clinic/P7", "split": "train",
                "image": b"A", "status": None, "uri": None}  # fmt: skip
    assert first.items() >= expected.items() and not first["cell_issues"]
    assert (second["image"], second["malignant"]) == (b"B", False), (
        "endings are read in lower case, as the library does"
    )
    assert (third["diagnosis"], third["malignant"], third["split"]) == ("wart", None, "test")
    assert third["source_id"] == "test/000001.tar.gz/x/a" and third["fitzpatrick"] is None
    assert shards(str(tmp_path))[1] == 1


def test_classes_as_texts(tmp_path: Path) -> None:
    path = shard(
        tmp_path / "s.tar", {"a.cls": "mel\n", "a.txt": "a caption", "a.jpg": b"A", "b.jpg": b"B", "b.cls": ""}
    )
    one, two = rows_of(settings(path, columns={"diagnosis": "cls"}, malignant_classes=["mel"]))
    assert (one["diagnosis"], one["malignant"], one["split"]) == ("mel", True, None)
    assert (two["diagnosis"], two["malignant"]) == (None, None)


@pytest.mark.parametrize(
    ("files", "statuses"),
    [
        # webdataset/webdataset#288: a.b.jpg and a.c.jpg are one sample a, of b.jpg and c.jpg
        ({"a.left.jpg": b"A", "a.right.jpg": b"B"}, {"s.tar/a": "several images in sample"}),
        ({"a.json": JSON}, {"s.tar/a": "no image in sample"}),
        ({"a.jpg": b"A", "a.json": "{"}, {"s.tar/a": "sample's .json cannot be read"}),
        ({"a.jpg": b"A", "b.jpg": b"B", "a.json": JSON}, {"s.tar/a (2)": "sample whose files do not lie together"}),
        ({"a.jpg": b"A", "README": b"x", "._a.jpg": b"x"},
         {"s.tar/README": "file of a shard that is no part", "s.tar/._a.jpg": "file of a shard that is no part"}),
    ],
)  # fmt: skip
def test_every_file_is_told(tmp_path: Path, files: dict[str, Any], statuses: dict[str, str]) -> None:
    read = rows_of(settings(shard(tmp_path / "s.tar", files)))
    bad = {row["source_id"]: row["reason"] for row in read if row["status"]}
    assert set(bad) == set(statuses) and all(bad[name].startswith(reason) for name, reason in statuses.items())


def test_one_of_several_images_and_dots_in_names(tmp_path: Path) -> None:
    # huggingface/datasets#7150: the library reads /some/path/22.0/1.1.png as sample /some/path/22.0/1 of 1.png
    path = shard(tmp_path / "s.tar", {"22.0/1.1.png": b"A", "22.0/1.2.png": b"B"})
    [row] = rows_of(settings(path, image="1.png"))
    assert (row["source_id"], row["image"]) == ("s.tar/22.0/1", b"A")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_shard_that_ends_early_loses_no_sample_in_silence(tmp_path: Path, kept: float) -> None:
    whole = shard(tmp_path / "whole.tar", {f"{i}.jpg": bytes([i]) * 5000 for i in range(10)}).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: int(len(whole) * kept)])
    read = rows_of(settings(tmp_path / "cut.tar"))
    good = [row for row in read if row["status"] is None]
    assert 0 < len(good) < 10 and all(row["image"] == bytes([i]) * 5000 for i, row in enumerate(good))
    assert read[-1]["source_id"] == "cut.tar" and read[-1]["reason"].startswith("shard damaged, or no tar file")
    (tmp_path / "none.tar").write_bytes(b"no tar file at all" * 100)
    [row] = rows_of(settings(tmp_path / "none.tar"))
    assert (row["status"], row["source_id"]) == ("failed", "none.tar")


def test_captions_taken_for_diagnoses_are_not_all_remembered() -> None:
    config, told = SourceConfig(path="x", columns={"diagnosis": "txt"}, benign_classes=["Nevus"]), Told()
    for i in range(WORDS_KEPT + 500):
        told.add(Sample(f"{i}", f"{i}", {"txt": f"a caption, {i}"}), config)
    told.add(Sample("last", "last", {"txt": "nevus"}), config)
    assert len(told.words["diagnosis"]) == WORDS_KEPT + 1
    assert require_columns(told, config)["samples"]["columns_not_read"] == []


def test_what_the_config_names_must_occur(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.tar", {"a.jpg": b"A", "a.json": JSON})
    with pytest.raises(ValueError, match=r"columns \['diag'\] occur nowhere; there are \['dx', 'fst', 'patient'\]"):
        rows_of(settings(path, columns={"diagnosis": "diag"}))
    with pytest.raises(ValueError, match="malignant_classes"):
        rows_of(settings(path, columns={"diagnosis": "dx"}, malignant_classes=["melanoma"]))
    with pytest.raises(ValueError, match="expected webdataset shards"):
        shards(str(shard(tmp_path / "x" / "s.zip", {}).parent))
    with pytest.raises(FileNotFoundError, match="no such folder or shard"):
        shards(f"{tmp_path}/gone")
    with pytest.raises(ValidationError, match="there is no table"):
        settings(path, table="t.csv")


def test_from_s3_in_place(bucket: str, tmp_path: Path) -> None:
    files = {f"{i:03}.{ending}": said for i in range(30) for ending, said in (("jpg", bytes([i]) * 999), ("cls", "nv"))}
    shard(tmp_path / "train" / "0.tar", files)
    storage.write_bytes(f"{bucket}/shards/train/0.tar", (tmp_path / "train" / "0.tar").read_bytes())
    given: dict[str, Any] = {"columns": {"diagnosis": "cls"}, "benign_classes": ["nv"]}
    read = rows_of(SourceConfig(path=f"{bucket}/shards", **given))
    assert len(read) == 30 and read == rows_of(settings(tmp_path, **given)) and read[0]["split"] == "train"
