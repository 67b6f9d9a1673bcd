"""ISIC 2019 beyond its training tables (test_sources.py): the test set, and names that end in _downsampled."""

from pathlib import Path

import pandas as pd
import pytest

from dermray.datasets import isic_2019
from tests.datasets.published import preset_sources, rows_of, write

CLASSES = ",".join(isic_2019.CLASSES)


def tree(folder: Path) -> Path:
    return write(
        folder,
        isic_2019_train=f"image,{CLASSES}\nISIC_0000001_downsampled,1,0,0,0,0,0,0,0,0\nISIC_0024306,0,1,0,0,0,0,0,0,0\n",
        isic_2019_people="image,age_approx,anatom_site_general,lesion_id,sex\nISIC_0000001_downsampled,30,,,female\n"
        "ISIC_0024306,45.0,lower extremity,HAM_0000550,male\n",
        isic_2019_test=f"image,{CLASSES},score_weight,validation_weight\n"
        "ISIC_0034321,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0\n"
        "ISIC_0034322,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0\n",
        isic_2019_test_people="image,age_approx,anatom_site_general,sex\nISIC_0034321,60,anterior torso,male\n"
        "ISIC_0034322,,,\n",
    )


def test_the_test_set_is_the_official_one_and_unk_is_no_label(tmp_path: Path) -> None:
    train, test = preset_sources("isic_2019", tree(tmp_path))
    assert train["split"] == "train"
    known, unknown = rows_of(test.pop("source"), test.pop("path"), **test)
    assert (known["entity"], known["malignant"], known["split"], known["lesion_id"]) == ("nv", False, "test", None)
    assert {unknown[name] for name in ("entity", "malignant", "age", "sex", "site")} == {None}
    assert unknown["diagnosis"] is None and not unknown["cell_issues"]


def test_downsampled_names_are_images_of_their_own(shared: Path) -> None:
    read = rows_of("isic_2019", shared / "metadata", table="ISIC_2019_Training_Metadata.modified.csv")
    names = [row["source_id"] for row in read]
    assert not any(row.get("status") for row in read), "no row is rejected for an unknown label"
    shrunk = [name for name in names if name.endswith("_downsampled")]
    truth = pd.read_csv(shared / "metadata" / "ISIC_2019_Training_GroundTruth.csv", dtype=str)
    assert len(names) == len(truth) == 25331 and set(names) == set(truth.image)
    assert len(shrunk) == truth.image.str.endswith("_downsampled").sum() == 2074
    assert not {name.removesuffix("_downsampled") for name in shrunk} & set(names)


def test_a_table_of_2020_in_its_place_is_told_apart(tmp_path: Path) -> None:
    # github.com/ngessert/isic2019/issues/5: "I had to download datasets for the 2020 challenge and delete additional
    # columns"; then columns are missing, and no label is guessed
    tree(tmp_path)
    write(tmp_path, isic_2019_people="image,sex,age_approx,anatom_site_general_challenge,diagnosis\na,male,1,,nevus\n")
    with pytest.raises(ValueError, match=r"columns \['anatom_site_general'\] are missing"):
        rows_of("isic_2019", tmp_path)
