"""ISIC 2024 (SLICE-3D) in Kaggle's layout: a table, and an HDF5 file of JPEG bytes that is read in place."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from dermray.datasets.cells import plain
from dermray.datasets.labels.table import labels_of
from tests.datasets.published import ISIC_2024, by_id, preset_sources, rows_of, write

NEVUS = "Benign::Benign melanocytic proliferations::Nevus"
AMN = "Indeterminate::Indeterminate melanocytic proliferations::Atypical melanocytic neoplasm"
BCC = "Malignant::Malignant adnexal epithelial proliferations - Follicular::Basal cell carcinoma"

# The last words of train-metadata.csv's iddx_full, as public notebooks of the challenge list them.
LEAVES = {
    False: """Benign; Lichen planus like keratosis; Nevus, NOS, Junctional; Nevus; Seborrheic keratosis;
        Nevus, Atypical, Dysplastic, or Clark; Nevus, NOS, Dermal; Pigmented benign keratosis; Solar lentigo;
        Dermatofibroma; Nevus, NOS, Compound; Trichilemmal or isthmic-catagen or pilar cyst; Angiofibroma, Facial; Scar;
        Lentigo NOS; Nevus, Deep penetrating; Nevus, Of special anatomic site; Nevus, Spitz; Verruca; Nevus,
        Combined; Blue nevus, Cellular; Nevus, Congenital; Hemangioma, Cherry; Cysts; Hidradenoma;
        Fibroepithelial polyp; Benign adnexal epithelial proliferations - Follicular; Seborrheic keratosis,
        Clonal""",
    True: """Squamous cell carcinoma in situ; Basal cell carcinoma, Nodular; Squamous cell carcinoma, Invasive; Basal
        cell carcinoma, Superficial; Melanoma in situ; Melanoma in situ, Lentigo maligna type; Melanoma
        Invasive; Melanoma, NOS; Melanoma in situ, associated with a nevus; Basal cell carcinoma,
        Infiltrating; Basal cell carcinoma; Melanoma Invasive, Superficial spreading; Melanoma Invasive,
        Associated with a nevus; Squamous cell carcinoma, Invasive, Keratoacanthoma-type; Melanoma
        metastasis; Squamous cell carcinoma in situ, Bowens disease; Squamous cell carcinoma, NOS; Melanoma
        in situ, Superficial spreading; Melanoma Invasive, Nodular; Melanoma Invasive, On chronically
        sun-exposed skin or lentigo maligna melanoma""",
    None: """Solar or actinic keratosis; Atypical melanocytic neoplasm; Actinic keratosis, Bowenoid; Atypical
        intraepithelial melanocytic proliferation""",
}


def line(name: str, target: str, full: str, patient: str = "IP_1", lesion: str = "", licence: str = "CC-BY") -> str:
    levels = [*full.split("::"), *[""] * 5][:5] if full else [""] * 5
    return (f"{name},{target},{patient},60.0,male,lower extremity,3.04,TBP tile: close-up,20.24,"
            f"Memorial Sloan Kettering Cancer Center,{licence},{lesion},{full},{','.join(levels)},\n")  # fmt: skip


def table(folder: Path) -> Path:
    lines = [line("ISIC_0015670", "0", "Benign", "IP_1235828"), line("ISIC_0015845", "0", NEVUS, lesion="IL_6727506"),
             line("ISIC_0015864", "0", AMN, "IP_6234053", "IL_1"),
             line("ISIC_0082829", "1", BCC, "IP_2", "IL_2")]  # fmt: skip
    return write(folder, isic_2024=ISIC_2024 + "".join(lines))


def images(folder: Path, name: str = "train-image.hdf5") -> dict[str, bytes]:
    """An HDF5 file whose images are stored in each of the three ways that h5py has for bytes."""
    told = {
        "ISIC_0015670": b"\xff\xd8a\x00b\xff\xd9",
        "ISIC_0015845": b"\xff\xd8\x00\xff\xd9",
        "ISIC_0082829": b"\xff\xd8c\xff\xd9",
    }
    with h5py.File(folder / name, "w") as file:
        file["ISIC_0015670"] = np.void(told["ISIC_0015670"])
        file["ISIC_0015845"] = np.frombuffer(told["ISIC_0015845"], np.uint8)
        file["ISIC_0082829"] = np.bytes_(told["ISIC_0082829"])
    return told


def test_labels_are_iddx_1s_and_what_is_indeterminate_is_unknown(tmp_path: Path) -> None:
    # Kurtansky et al. 2024: target is 0 for 400,666, of which iddx_1 calls 114 indeterminate
    images(table(tmp_path))
    [given] = preset_sources("isic_2024", tmp_path)
    read = by_id(rows_of(given.pop("source"), given.pop("path"), **given))
    assert {name: (r["diagnosis"], r["entity"], r["malignant"]) for name, r in read.items()} == {
        "ISIC_0015670": ("Benign", None, False),
        "ISIC_0015845": ("Nevus", "nv", False),
        "ISIC_0015864": ("Atypical melanocytic neoplasm", None, None),
        "ISIC_0082829": ("Basal cell carcinoma", "bcc", True),
    }
    first = read["ISIC_0015670"]
    assert (first["patient_id"], first["lesion_id"]) == ("isic_2024/IP_1235828", None), "no lesion id is nobody's"
    assert (first["modality"], first["licence"], first["age"]) == (None, "CC-BY", 60.0)
    assert not any(row["cell_issues"] or row.get("status") for row in read.values())


def test_every_word_of_the_published_table_is_known() -> None:
    table = labels_of("isic_archive")
    told = {malignant: [" ".join(word.split()) for word in words.split(";")] for malignant, words in LEAVES.items()}
    assert {word: table[plain(word)].malignant for words in told.values() for word in words} == {
        word: malignant for malignant, words in told.items() for word in words
    }
    assert {table[plain(word)].entity for word in told[True] if "Melanoma" in word} == {"mel"}
    assert {table[plain(word)].entity for word in told[False] if "nevus" in word.lower()} == {"nv"}


def test_a_target_against_the_diagnosis_a_strange_word_and_a_test_set(tmp_path: Path) -> None:
    images(tmp_path)
    images(tmp_path, "test-image.hdf5")
    lines = [line("ISIC_1", "0", BCC), line("ISIC_2", "1", "Malignant::Merkel tumour"), line("ISIC_3", "", "")]
    write(tmp_path, isic_2024=ISIC_2024 + "".join(lines),
          isic_2024_test="isic_id,patient_id,age_approx,sex,anatom_site_general,image_type,attribution,copyright_license\n"
          "ISIC_0015657,IP_6074337,45.0,male,posterior torso,TBP tile: close-up,X,CC-BY\n")  # fmt: skip
    torn, strange, none = rows_of("isic_2024", tmp_path)
    assert torn["malignant"] is None and torn["cell_issues"][0].startswith("target: expected what iddx_1 says")
    assert strange["status"] == "rejected" and strange["reason"].endswith("'Merkel tumour'")
    assert (none["diagnosis"], none["malignant"], none.get("status")) == (None, None, None)
    test = {"table": "test-metadata.csv", "hdf5": "test-image.hdf5", "split": "test"}
    with pytest.raises(ValueError, match=r"columns \['target', 'iddx_5'"):
        rows_of("isic_2024", tmp_path, **test)
    [row] = rows_of("isic_2024", tmp_path, labels=False, **test)
    assert (row["malignant"], row["split"], row["age"]) == (None, "test", 45.0)


def test_what_is_no_hdf5_file_and_where_h5py_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path)
    with pytest.raises(FileNotFoundError, match="train-image.hdf5: no such HDF5 file"):
        rows_of("isic_2024", tmp_path)
    (tmp_path / "train-image.hdf5").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match="no HDF5 file, or not whole .*; download it again"):
        rows_of("isic_2024", tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'dermray\[hdf5\]'"):
        rows_of("isic_2024", tmp_path)
    read = rows_of("isic_2024", tmp_path, hdf5=None)
    assert read[0]["uri"] == f"{tmp_path}/train-image/image/ISIC_0015670.jpg", "images as files need no h5py"
