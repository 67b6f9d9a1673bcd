"""ISIC 2018 task 3 in its published layout, and HAM10000's real labels in it: the two are the same 10,015 images."""

from collections import Counter
from pathlib import Path

import pandas as pd

from tests.datasets.published import by_id, preset_sources, rows_of, write

CLASSES = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
HEADER = f"image,{','.join(CLASSES)}\n"
GROUPS = "image,lesion_id,diagnosis_confirm_type\n"


def line(image: str, *classes: str) -> str:
    return f"{image},{','.join('1.0' if name in classes else '0.0' for name in CLASSES)}\n"


def tree(folder: Path) -> Path:
    return write(
        folder,
        isic_2018_train=HEADER
        + line("ISIC_0024306", "NV")
        + line("ISIC_0024307", "MEL")
        + line("ISIC_0024308", "AKIEC"),
        isic_2018_lesions=GROUPS
        + "ISIC_0024306,HAM_0000550,serial imaging showing no change\n"
        + "ISIC_0024307,HAM_0003577,histopathology\nISIC_0024308,HAM_0003577,histopathology\n",
        isic_2018_val=HEADER + line("ISIC_0034321", "NV"),
        isic_2018_test=HEADER + line("ISIC_0034524", "BCC") + line("ISIC_0035068", "NV"),
    )


def test_three_official_splits_and_the_lesions_of_the_first(tmp_path: Path) -> None:
    # github.com/ngessert/isic2018/issues/1 asks which lesion an image shows: the groupings say it, of the training set
    given = preset_sources("isic_2018", tree(tmp_path))
    read = by_id([row for s in given for row in rows_of(s.pop("source"), s.pop("path"), **s)])
    told = {name: (r["entity"], r["malignant"], r["lesion_id"], r["split"]) for name, r in read.items()}
    assert told == {
        "ISIC_0024306": ("nv", False, "isic_2018/HAM_0000550", "train"),
        "ISIC_0024307": ("mel", True, "isic_2018/HAM_0003577", "train"),
        "ISIC_0024308": ("akiec", None, "isic_2018/HAM_0003577", "train"),
        "ISIC_0034321": ("nv", False, None, "val"),
        "ISIC_0034524": ("bcc", True, None, "test"),
        "ISIC_0035068": ("nv", False, None, "test"),
    }
    # ImageMarkup/isic-challenge-scoring, load_csv.py: "if 'ISIC_0035068' in table.index: # TODO: Move this to ground
    # truth", with weight 0; Harvard's copy of the test set has its label and no image
    synthetic = read["ISIC_0035068"]
    assert synthetic["status"] == "rejected" and synthetic["reason"].startswith("synthetic image, by the archive @ ")
    assert all(row.get("status") is None for name, row in read.items() if name != "ISIC_0035068")


def test_two_classes_none_and_a_lesion_that_is_not_grouped(tmp_path: Path) -> None:
    tree(tmp_path)
    write(tmp_path, isic_2018_train=HEADER + line("ISIC_0024306", "NV", "MEL") + line("ISIC_0024307") + line("X", "DF"))
    two, none, stranger = rows_of("isic_2018", tmp_path)
    assert two["malignant"] is None and "expected a single 1" in two["cell_issues"][0]
    assert (none["diagnosis"], none["malignant"]) == (None, None)
    assert stranger["lesion_id"] is None and "in the lesion groupings" in stranger["cell_issues"][0]


def test_ham10000s_real_labels_in_the_challenges_form(shared: Path, tmp_path: Path) -> None:
    ham = pd.read_csv(shared / "metadata" / "HAM10000_metadata.csv", dtype=str, keep_default_na=False)
    truth = HEADER + "".join(line(image, dx.upper()) for image, dx in zip(ham.image_id, ham.dx, strict=True))
    groups = "".join(f"{i},{lesion},x\n" for i, lesion in zip(ham.image_id, ham.lesion_id, strict=True))
    write(tmp_path, isic_2018_train=truth, isic_2018_lesions=GROUPS + groups)
    read = rows_of("isic_2018", tmp_path)
    assert len(read) == 10015 and all(row.get("status") is None for row in read)
    assert Counter(row["entity"] for row in read) == Counter(ham.dx)
    assert len({row["lesion_id"] for row in read}) == ham.lesion_id.nunique() == 7470
