"""ISIC 2017 in its published layout: challenge.isic-archive.com/landing/2017/44 and /data/#2017."""

from pathlib import Path

import pytest

from tests.datasets.published import by_id, preset_sources, rows_of, write

HEADER = "image_id,melanoma,seborrheic_keratosis\n"
PEOPLE = "image_id,age_approximate,sex\n"


def tree(folder: Path) -> Path:
    return write(
        folder,
        isic_2017_train=HEADER + "ISIC_0000000,0.0,0.0\nISIC_0000002,1.0,0.0\nISIC_0000013,0.0,1.0\n",
        isic_2017_people=PEOPLE + "ISIC_0000000,55,female\nISIC_0000002,unknown,unknown\nISIC_0000013,30,male\n",
        isic_2017_val=HEADER + "ISIC_0001769,0.0,0.0\n",
        isic_2017_val_people=PEOPLE + "ISIC_0001769,35,male\n",
        isic_2017_test=HEADER + "ISIC_0012086,1.0,0.0\n",
        isic_2017_test_people=PEOPLE + "ISIC_0012086,65,female\n",
    )


def test_three_official_splits_with_ages_and_sexes(tmp_path: Path) -> None:
    # github.com/wurenkai/UltraLight-VM-UNet/issues/63 asks whether ISIC 2017 is 2000 images or 2750: all three splits
    given = preset_sources("isic_2017", tree(tmp_path))
    read = by_id([row for s in given for row in rows_of(s.pop("source"), s.pop("path"), **s)])
    names = ("diagnosis", "entity", "malignant", "age", "sex", "split")
    assert {key: tuple(row[name] for name in names) for key, row in read.items()} == {
        "ISIC_0000000": ("nevus", "nv", False, 55, "female", "train"),
        "ISIC_0000002": ("melanoma", "mel", True, None, None, "train"),  # ages and sexes may be "unknown"
        "ISIC_0000013": ("seborrheic_keratosis", "bkl", False, 30, "male", "train"),
        "ISIC_0001769": ("nevus", "nv", False, 35, "male", "val"),
        "ISIC_0012086": ("melanoma", "mel", True, 65, "female", "test"),
    }  # fmt: skip
    assert not any(row["cell_issues"] for row in read.values())


def test_two_ones_an_empty_cell_and_an_image_without_metadata(tmp_path: Path) -> None:
    tree(tmp_path)
    write(tmp_path, isic_2017_train=HEADER + "ISIC_0000000,1.0,1.0\nISIC_0000002,,0.0\nISIC_0000099,0.0,0.0\n")
    both, empty, stranger = rows_of("isic_2017", tmp_path)
    assert both["malignant"] is None and "expected a single 1" in both["cell_issues"][0]
    assert (empty["diagnosis"], empty["malignant"]) == (None, None), "an empty cell is no 0, so this is no nevus"
    assert (stranger["entity"], stranger["age"]) == ("nv", None) and "in the metadata" in stranger["cell_issues"][0]


def test_superpixels_beside_the_images_are_no_rows(tmp_path: Path) -> None:
    # "2000 lesion images in JPEG format and 2000 corresponding superpixel masks in PNG format", in one folder
    folder = tree(tmp_path) / "ISIC-2017_Training_Data"
    (folder / "ISIC_0000000_superpixels.png").write_bytes(b"x")
    (folder / "ISIC_0000000.jpg").write_bytes(b"x")
    read = rows_of("isic_2017", tmp_path)
    assert len(read) == 3 and read[0]["uri"] == f"{folder}/ISIC_0000000.jpg"


def test_tables_that_do_not_pair(tmp_path: Path) -> None:
    tree(tmp_path)
    write(tmp_path, isic_2017_people=PEOPLE + "ISIC_9,1,male\n")
    with pytest.raises(ValueError, match="none of its 3 rows has a line in .*_metadata.csv; do the two pair"):
        rows_of("isic_2017", tmp_path)
    assert len(rows_of("isic_2017", tmp_path, metadata=None)) == 3
