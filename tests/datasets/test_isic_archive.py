"""The ISIC archive's own download: isic-cli's table, older exports, and the JSON files of before 2022."""

import json
from pathlib import Path
from typing import Any

import pytest

from dermray.datasets import isic_archive
from dermray.datasets.cells import plain
from dermray.datasets.isic_descriptions import listed, read_descriptions, rows
from dermray.datasets.labels.table import labels_of
from tests.datasets.published import ARCHIVE, by_id, preset_sources, rows_of, write

MEL = "Malignant,Malignant melanocytic proliferations (Melanoma),Melanoma Invasive"
AK = "Indeterminate,Indeterminate epidermal proliferations,Solar or actinic keratosis"
NEVUS = "Benign,Benign melanocytic proliferations,Nevus"


def line(
    name: str, levels: str, kind: str = "dermoscopic", made: str = "instrument only", rest: str = "IL_1,IP_1,male"
) -> str:
    return f"{name},Hospital Italiano de Buenos Aires,CC-BY,85,Trunk,{levels},II,{made},{kind},{rest}\n"


def test_the_finest_word_is_the_diagnosis_and_diagnosis_1_the_label(tmp_path: Path) -> None:
    lines = [line("ISIC_0000001", MEL), line("ISIC_0000002", AK), line("ISIC_0000003", NEVUS, "clinical: close-up"),
             line("ISIC_0000004", "Malignant,,"), line("ISIC_0000005", ",,", "TBP tile: close-up", rest=",,"),
             line("ISIC_0000006", "Indeterminate,,")]  # fmt: skip
    [given] = preset_sources("isic_archive", write(tmp_path, archive=ARCHIVE + "".join(lines)))
    read = by_id(rows_of(given.pop("source"), given.pop("path"), **given))
    told = [(r["diagnosis"], r["entity"], r["malignant"], r["modality"]) for r in read.values()]
    assert told == [
        ("Melanoma Invasive", "mel", True, "dermoscopic"),
        ("Solar or actinic keratosis", "akiec", None, "dermoscopic"),
        ("Nevus", "nv", False, "clinical"),
        ("Malignant", None, True, "dermoscopic"),
        (None, None, None, None),
        ("Indeterminate", None, None, "dermoscopic"),
    ]
    first, nobody = read["ISIC_0000001"], read["ISIC_0000005"]
    expected = {"fitzpatrick": 2, "skin_tone": "A", "age": 85.0, "site": "trunk", "licence": "CC-BY", "sex": "male"}
    assert first.items() >= expected.items() and first["uri"] == f"{tmp_path}/ISIC_0000001.jpg"
    assert nobody["patient_id"] is nobody["lesion_id"] is nobody["sex"] is None


def test_synthetic_unknown_and_contradicting_images(tmp_path: Path) -> None:
    lines = [line("ISIC_0035068", NEVUS, made="synthetic"), line("ISIC_1", "Benign,Benign - Other,Dermatitis"),
             line("ISIC_2", "Benign,x,Melanoma Invasive"), line("ISIC_3", NEVUS, made="altered")]  # fmt: skip
    synthetic, strange, torn, altered = rows_of("isic_archive", write(tmp_path, archive=ARCHIVE + "".join(lines)))
    assert synthetic["status"] == "rejected" and synthetic["reason"].startswith("synthetic image, by the archive @ ")
    assert strange["status"] == "rejected" and strange["reason"].endswith("'Dermatitis'")
    assert torn["malignant"] is None and torn["cell_issues"][0].startswith(
        "diagnosis_1: expected what the diagnosis is"
    )
    assert altered.get("status") is None


def test_older_exports_say_diagnosis_and_benign_malignant(tmp_path: Path) -> None:
    lines = ["ISIC_1,actinic keratosis,benign,55,male", "ISIC_2,AIMP,indeterminate/benign,60,female",
             "ISIC_3,squamous cell carcinoma,malignant,,", "ISIC_4,,,,", "ISIC_5,nevus,malignant,60,male"]  # fmt: skip
    write(tmp_path, archive="isic_id,diagnosis,benign_malignant,age_approx,sex\n" + "\n".join(lines))
    read = rows_of("isic_archive", tmp_path)
    # github.com/ImageMarkup/isic-cli/issues/43 asks which of the challenge's classes AIMP is: none, it describes
    assert [(r["entity"], r["malignant"]) for r in read] == [
        ("akiec", False), (None, None), (None, True), (None, None), ("nv", None)
    ]  # fmt: skip
    assert [len(r["cell_issues"]) for r in read] == [0, 0, 0, 0, 1]


def test_a_table_that_says_nothing_of_what_images_show_is_refused(tmp_path: Path) -> None:
    write(tmp_path, archive="isic_id,attribution,copyright_license,age_approx\nISIC_1,X,CC-0,55\n")
    with pytest.raises(ValueError, match="no column says what an image shows; expected diagnosis_1"):
        rows_of("isic_archive", tmp_path)


@pytest.mark.parametrize(
    "word",
    # github.com/romanpoluden/revela/issues/117: the archive's words for BCN20000, each to be decided upon
    ["Melanoma, NOS", "Melanoma metastasis", "Basal cell carcinoma", "Squamous cell carcinoma, NOS", "Nevus", "Scar",
     "Solar or actinic keratosis", "Seborrheic keratosis", "Solar lentigo", "Dermatofibroma",
     # of isic-cli's README and of its older exports
     "Melanoma Invasive", "atypical melanocytic proliferation", "lentigo NOS", "vascular lesion", "Muluscum"],
)  # fmt: skip
def test_words_that_the_archive_has_been_seen_to_use(word: str) -> None:
    assert plain(word) in labels_of("isic_archive")


def test_open_words_have_no_label_and_no_entity_by_guess() -> None:
    known = labels_of("isic_archive")
    for word in ("aimp", "atypical spitz tumor", "melanocytic tumor of uncertain malignant potential", "indeterminate"):
        assert known[word] == (None, None), word
    assert known["benign"] == (None, False) and known["malignant"] == (None, True)
    assert known["squamous cell carcinoma in situ, bowens disease"] == ("akiec", True)
    assert len(known) > 418


OLD: dict[str, Any] = {
    "_id": "5436e3abbae478396759f0cf", "_modelType": "image", "name": "ISIC_0000000",
    "dataset": {"name": "UDA-1", "license": "CC-0"},
    "meta": {"acquisition": {"image_type": "dermoscopic", "pixelsX": 1022, "pixelsY": 767},
             "clinical": {"age_approx": 55, "anatom_site_general": "anterior torso", "benign_malignant": "benign",
                          "diagnosis": "nevus", "diagnosis_confirm_type": None, "melanocytic": True, "sex": "female"}},
}  # fmt: skip


def descriptions(folder: Path) -> Path:
    """As GalAvineri/ISIC-Archive-Downloader writes them: JSON without a suffix, images as .jpeg."""
    (folder / "Descriptions").mkdir()
    (folder / "Images").mkdir()
    missing = {**OLD, "name": "ISIC_0000001", "meta": {"acquisition": None, "clinical": {"diagnosis": None}}}
    for name, text in {"ISIC_0000000": json.dumps(OLD), "ISIC_0000001": json.dumps(missing), "ISIC_0000002": "{cut",
                       "ISIC_0000003": "[]", "LICENSE.txt": "CC-0", ".isic-partial.1": "x"}.items():  # fmt: skip
        (folder / "Descriptions" / name).write_text(text)
    return folder


def test_json_files_each_a_row_and_what_is_none_has_a_reason(tmp_path: Path) -> None:
    config = isic_archive.SourceConfig(
        path=str(descriptions(tmp_path)), descriptions="Descriptions", images="Images", extension=".jpeg"
    )
    place = f"{tmp_path}/Descriptions"
    names, others = listed(place)
    assert len(names) == 4 and others == 2
    one, two, cut, array = rows(names, place, isic_archive.to_row, config)
    expected = {"source_id": "ISIC_0000000", "diagnosis": "nevus", "entity": "nv", "malignant": False, "age": 55.0,
                "sex": "female", "site": "anterior torso", "modality": "dermoscopic", "licence": "CC-0"}  # fmt: skip
    assert one.items() >= expected.items() and one["uri"] == f"{tmp_path}/Images/ISIC_0000000.jpeg"
    # github.com/ImageMarkup/isic-archive/issues/709: images whose diagnosis is unknown
    assert {two[name] for name in ("diagnosis", "entity", "malignant", "age", "sex", "modality", "patient_id")} == {
        None
    }
    assert two.get("status") is None
    assert cut["status"] == "failed" and cut["reason"] == "description cannot be read: JSONDecodeError @ ISIC_0000002"
    assert array["status"] == "failed" and "expected an object, got a list" in array["reason"]


def test_json_files_beside_their_images_in_folders_of_data_sets(tmp_path: Path) -> None:
    folder = tmp_path / "ISIC-images" / "UDA-1"
    folder.mkdir(parents=True)
    (folder / "ISIC_0000000.json").write_text(json.dumps(OLD))
    (folder / "ISIC_0000000.jpg").write_bytes(b"x")
    config = isic_archive.SourceConfig(path=str(tmp_path), descriptions="ISIC-images", images="ISIC-images")
    names, others = listed(f"{tmp_path}/ISIC-images")
    [row] = rows(names, f"{tmp_path}/ISIC-images", isic_archive.to_row, config)
    assert others == 1 and row["uri"] == str(folder / "ISIC_0000000.jpg") and row["source_id"] == "UDA-1/ISIC_0000000"


def test_the_newer_json_of_the_archives_interface(tmp_path: Path) -> None:
    said = {"isic_id": "ISIC_0024306", "copyright_license": "CC-BY-NC", "attribution": "ViDIR",
            "metadata": {"acquisition": {"image_type": "dermoscopic"},
                         "clinical": {"diagnosis_1": "Benign", "diagnosis_3": "Nevus",
                                      "lesion_id": "IL_1"}}}  # fmt: skip
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "ISIC_0024306.json").write_text(json.dumps(said))
    config = isic_archive.SourceConfig(path=str(tmp_path), descriptions="d")
    [row] = rows(["ISIC_0024306.json"], f"{tmp_path}/d", isic_archive.to_row, config)
    assert (row["entity"], row["malignant"], row["lesion_id"]) == ("nv", False, "isic_archive/IL_1")
    assert row["licence"] == "CC-BY-NC"


def test_a_place_without_json_files(tmp_path: Path) -> None:
    config = isic_archive.SourceConfig(path=str(tmp_path), descriptions="Descriptions")
    with pytest.raises(FileNotFoundError, match="no such folder; check the source's descriptions"):
        read_descriptions(config, "Descriptions", isic_archive.to_row)
    (tmp_path / "Descriptions").mkdir()
    (tmp_path / "Descriptions" / "a.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match="expected JSON files, one per image; there are 1 other files"):
        read_descriptions(config, "Descriptions", isic_archive.to_row)
