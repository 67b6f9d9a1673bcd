"""ISIC 2016 in its published layout: challenge.isic-archive.com/landing/2016/39 and /data/#2016."""

from pathlib import Path

import pytest

from tests.datasets.published import by_id, preset_sources, rows_of, write

TRAIN = "ISIC_0000000,benign\nISIC_0000002,malignant\nISIC_0000004,malignant\n"
TEST = "ISIC_0000003,0.0\nISIC_0010459,1.0\n"


def test_words_in_the_training_set_numbers_in_the_test_set_and_no_header(tmp_path: Path) -> None:
    write(tmp_path, isic_2016_train=TRAIN, isic_2016_test=TEST)
    given = preset_sources("isic_2016", tmp_path)
    read = by_id([row for s in given for row in rows_of(s.pop("source"), s.pop("path"), **s)])
    assert {name: (r["entity"], r["malignant"], r["split"]) for name, r in read.items()} == {
        "ISIC_0000000": (None, False, "train"),  # benign, and nobody says what
        "ISIC_0000002": ("mel", True, "train"),
        "ISIC_0000004": ("mel", True, "train"),
        "ISIC_0000003": (None, False, "test"),
        "ISIC_0010459": ("mel", True, "test"),
    }
    assert read["ISIC_0000003"]["uri"] == f"{tmp_path}/ISBI2016_ISIC_Part3_Test_Data/ISIC_0000003.jpg"
    assert {row["licence"] for row in read.values()} == {"CC0-1.0"}
    assert {row.get("lesion_id") for row in read.values()} == {None}


def test_a_headers_words_are_no_label_and_an_empty_one_is_unknown(tmp_path: Path) -> None:
    # Copies at Kaggle have a header put before them; github.com/SaoYan/IPMI2019-AttnMel/issues/2 asks for a
    # validation set, which there is none of: val is cut out of the official train rows.
    write(tmp_path, isic_2016_train="image_name,label\nISIC_0000000,\nISIC_0000002, Malignant \nISIC_0000004,1.5\n")
    header, empty, spaced, odd = rows_of("isic_2016", tmp_path)
    assert header["status"] == odd["status"] == "rejected" and "does not know" in header["reason"]
    assert (empty["diagnosis"], empty["malignant"], empty.get("status")) == (None, None, None)
    assert (spaced["diagnosis"], spaced["malignant"]) == ("Malignant", True)
    assert odd["malignant"] is None and odd["reason"].endswith("line 4: '1.5'")


def test_masks_beside_the_images_are_no_rows(tmp_path: Path) -> None:
    # "900 dermoscopic lesion images in JPEG format and 900 associated segmentation binary masks" in one folder (3B)
    write(tmp_path, isic_2016_train=TRAIN)
    folder = tmp_path / "ISBI2016_ISIC_Part3_Training_Data"
    folder.mkdir()
    for name in ("ISIC_0000000.jpg", "ISIC_0000000_Segmentation.png"):
        (folder / name).write_bytes(b"x")
    assert [row["uri"].rpartition("/")[2] for row in rows_of("isic_2016", tmp_path)] == [
        f"{line.partition(',')[0]}.jpg" for line in TRAIN.splitlines()
    ]


def test_an_empty_table_says_so(tmp_path: Path) -> None:
    write(tmp_path, isic_2016_train="")
    with pytest.raises(ValueError, match="the table has no rows"):
        rows_of("isic_2016", tmp_path)
