"""MED-NODE, Kaggle's two, MClass and ASAN: folders as published, which say what an image shows."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dermray.datasets import class_folders, labelled_folders, mclass, mednode
from dermray.datasets.labels.table import labels_of
from dermray.datasets.listing import files
from dermray.datasets.sources import source
from dermray.records import IMAGES, conform
from tests.datasets.published import by_id, preset_sources


def rows_of(name: str, folder: Path, told: dict[str, Any] | None = None, prefix: str = "", **given: Any) -> list[Any]:
    """Rows of all files below a folder, as the source's tasks make them."""
    module, place = source(name), str(folder)
    config = module.SourceConfig(path=place, **given)
    found = class_folders.rows_of(place, files(place), class_folders.Told())
    told = module.TOLD if told is None else told
    read = [labelled_folders.to_row(row, config, told, prefix) for row in found]
    conform([{k: v for k, v in row.items() if k != "uri"} for row in read], IMAGES)
    return read


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def told(read: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    rows = by_id(read).items()
    return {name: (row.get("diagnosis"), row.get("entity"), row.get("malignant"), row["split"]) for name, row in rows}


def test_mednode(tmp_path: Path) -> None:
    # complete_mednode_dataset.zip: 70 in melanoma, 100 in naevus, named by numbers
    names = [f"melanoma/{i}.jpg" for i in range(70)] + [f"naevus/{i}.jpg" for i in range(100)]
    [given] = preset_sources("mednode", tree(tmp_path, *names))
    read = rows_of(given.pop("source"), Path(given.pop("path")), **given)
    assert Counter(row["malignant"] for row in read) == {True: 70, False: 100}
    assert {(row["modality"], row["licence"], row["split"]) for row in read} == {("clinical", None, None)}
    assert told(read)["naevus/7.jpg"] == ("naevus", "nv", False, None)


@pytest.mark.parametrize(
    ("name", "benign", "malignant"),
    [("melanoma_10000", "benign", "malignant"), ("melanoma_cancer", "Benign", "Malignant")],
)
def test_kaggles_two_keep_their_test_set(tmp_path: Path, name: str, benign: str, malignant: str) -> None:
    names = [f"{split}/{label}/melanoma_{i}.jpg" for split in ("train", "test") for label in (benign, malignant)
             for i in range(2)]  # fmt: skip
    [given] = preset_sources(name, tree(tmp_path, *names))
    read = told(rows_of(given.pop("source"), Path(given.pop("path")), **given))
    assert read[f"test/{malignant}/melanoma_1.jpg"] == (malignant, None, True, "test")
    assert read[f"train/{benign}/melanoma_0.jpg"] == (benign, None, False, "train") and len(read) == 8
    assert {row["source"] for row in rows_of(name, tmp_path)} == {name}


def test_mclass_is_two_test_sets(tmp_path: Path) -> None:
    # public scripts walk BenchmarkDermoscopic/malign and BenchmarkClinical/malignant: the two are spelt apart
    tree(tmp_path / "D", "benign/ISIC_0000003.jpg", "malign/ISIC_0000040.jpg")
    tree(tmp_path / "ND", "benign/132357.jpg", "malignant/896.jpg")
    dermoscopic, clinical = preset_sources("mclass", tmp_path)
    read = []
    for given, folder in ((dermoscopic, "D"), (clinical, "ND")):
        prefix, kind = f"{mclass.FOLDERS[given['modality']]}/", {"modality": given["modality"], "licence": None}
        settings = {key: value for key, value in given.items() if key not in ("source", "path")}
        read += rows_of("mclass", tmp_path / folder, kind, prefix, **settings)
    assert told(read) == {
        "MClass-D/benign/ISIC_0000003.jpg": ("benign", "nv", False, "test"),
        "MClass-D/malign/ISIC_0000040.jpg": ("malign", "mel", True, "test"),
        "MClass-ND/benign/132357.jpg": ("benign", "nv", False, "test"),
        "MClass-ND/malignant/896.jpg": ("malignant", "mel", True, "test"),
    }
    assert Counter(row["modality"] for row in read) == {"dermoscopic": 2, "clinical": 2}


def test_asan_by_its_folders(tmp_path: Path) -> None:
    # pbevan1/Skin-Deep-Unlearning, a reader of the test set: biopsy/<class without spaces>/bcc2_865.JPG
    folders = {"actinickeratosis": "ak2_571", "basalcellcarcinoma": "bcc2_865", "dermatofibroma": "df2_1057",
               "lentigo": "lentigo2_501", "malignantmelanoma": "melanoma2_452", "pigmentednevus": "nevus2_2962",
               "seborrheickeratosis": "sebk2_1115", "squamouscellcarcinoma": "scc2_1074"}  # fmt: skip
    [given] = preset_sources("asan", tree(tmp_path, *(f"{folder}/{name}.JPG" for folder, name in folders.items())))
    read = rows_of(given.pop("source"), Path(given.pop("path")), **given)
    assert not any(row.get("status") for row in read) and {row["split"] for row in read} == {"test"}
    malignant = {row["diagnosis"]: row["malignant"] for row in read}
    assert {word for word, value in malignant.items() if value} == {
        "basalcellcarcinoma", "malignantmelanoma", "squamouscellcarcinoma"
    }  # fmt: skip
    assert malignant["actinickeratosis"] is None, "that reader's csv says 0 for it, and for both carcinomas"
    assert len(labels_of("asan")) == 12, "the paper's twelve"


@pytest.mark.parametrize("name", ["mednode", "melanoma_10000", "melanoma_cancer", "asan"])
def test_other_folders_files_and_none(tmp_path: Path, name: str) -> None:
    # what unzipping and viewers leave behind, a folder of nobody's label, a file in no folder, a folder called unknown
    names = ["__MACOSX/a.jpg", "melanoma in situ/b.jpg", "c.jpg", "unknown/d.jpg", "melanoma in situ/Thumbs.db",
             ".DS_Store"]  # fmt: skip
    read = by_id(rows_of(name, tree(tmp_path, *names)))
    assert len(read) == 6, "every file is a row"
    strange = read["melanoma in situ/b.jpg"]
    assert strange["status"] == "rejected" and "table of labels does not know" in strange["reason"]
    for bare in (read["c.jpg"], read["unknown/d.jpg"]):
        assert (bare["diagnosis"], bare["malignant"], bare.get("status")) == (None, None, None)
    assert read["__MACOSX/a.jpg"]["status"] == read[".DS_Store"]["status"] == "rejected"
    assert not any(row.get("malignant") for row in read.values())


def test_a_place_that_is_not_there_and_labels_of_a_user(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder; check the source's path"):
        mednode.read(mednode.SourceConfig(path=f"{tmp_path}/gone"))
    more = tmp_path / "more.yaml"
    more.write_text("nevus: {entity: nv, malignant: false}\n")  # a copy at Kaggle renames the folder
    [row] = rows_of("mednode", tree(tmp_path / "x", "nevus/1.jpg"), more_labels=str(more))
    assert (row["entity"], row["malignant"]) == ("nv", False)
