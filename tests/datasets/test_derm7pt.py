"""derm7pt in the layout of release_v0, as its authors' own reader (jeremykawahara/derm7pt, README) opens it."""

from pathlib import Path

import pytest

from dermray.datasets.labels.table import labels_of
from tests.datasets.published import by_id, preset_sources, rows_of, write

HEADER = "case_num,diagnosis,seven_point_score,pigment_network,streaks,pigmentation,regression_structures,"
HEADER += (
    "dots_and_globules,blue_whitish_veil,vascular_structures,level_of_diagnostic_difficulty,elevation,location,sex,"
)
HEADER += "management,clinic,derm,case_id,notes\n"
# derm7pt/dataset.py of the authors' reader: the words of `diagnosis`, and which of them are melanomas and nevi
MELANOMAS = ["melanoma", "melanoma (in situ)", "melanoma (less than 0.76 mm)", "melanoma (0.76 to 1.5 mm)",
             "melanoma (more than 1.5 mm)", "melanoma metastasis"]  # fmt: skip
NEVI = ["blue nevus", "clark nevus", "combined nevus", "congenital nevus", "dermal nevus", "recurrent nevus",
        "reed or spitz nevus"]  # fmt: skip
OTHERS = ["basal cell carcinoma", "dermatofibroma", "lentigo", "melanosis", "miscellaneous", "seborrheic keratosis",
          "vascular lesion"]  # fmt: skip


def case(number: int, diagnosis: str, clinic: str, derm: str, sex: str = "female", notes: str = "") -> str:
    return (f"{number},{diagnosis},1,absent,absent,absent,absent,irregular,absent,absent,low,palpable,head neck,{sex},"
            f"excision,{clinic},{derm},,{notes}\n")  # fmt: skip


def tree(folder: Path, *cases: str, train: str = "0\n", valid: str = "1\n", test: str = "2\n") -> Path:
    return write(folder, **{"meta/meta.csv": HEADER + "".join(cases), "meta/train_indexes.csv": "indexes\n" + train,
                            "meta/valid_indexes.csv": "indexes\n" + valid,
                            "meta/test_indexes.csv": "indexes\n" + test})  # fmt: skip


def three(folder: Path, **indexes: str) -> Path:
    missing = "Clinical missing and replaced with derm"
    return tree(
        folder,
        case(1, "basal cell carcinoma", "NEL/NEL025.JPG", "NEL/Nel026.jpg"),
        case(2, "clark nevus", "NBL/Nbl075.jpg", "NBL/Nbl076.jpg", "male"),
        case(3, "melanoma (in situ)", "NBL/NBL041.JPG", "NBL/NBL041.JPG", notes=missing),
        **indexes,
    )


def test_its_twenty_words_are_known_as_the_authors_group_them() -> None:
    known = labels_of("derm7pt")
    assert set(known) == {*MELANOMAS, *NEVI, *OTHERS} and len(known) == 20
    assert {word for word, meaning in known.items() if meaning.entity == "mel"} == set(MELANOMAS)
    assert {word for word, meaning in known.items() if meaning.entity == "nv"} == set(NEVI)
    assert {word for word, meaning in known.items() if meaning.malignant} == {*MELANOMAS, "basal cell carcinoma"}


def test_two_images_a_case_in_the_official_splits(tmp_path: Path) -> None:
    # issue #11 of jeremykawahara/derm7pt: 2,013 images and 1,011 lines, for a line names two
    [given] = preset_sources("derm7pt", three(tmp_path))
    read = by_id(rows_of(given.pop("source"), given.pop("path"), **given))
    told = {name: (r["modality"], r["entity"], r["malignant"], r["split"]) for name, r in read.items()}
    assert told == {
        "NEL/NEL025.JPG": ("clinical", "bcc", True, "train"),
        "NEL/Nel026.jpg": ("dermoscopic", "bcc", True, "train"),
        "NBL/Nbl075.jpg": ("clinical", "nv", False, "val"),
        "NBL/Nbl076.jpg": ("dermoscopic", "nv", False, "val"),
        "NBL/NBL041.JPG as clinic": ("clinical", "mel", True, "test"),
        "NBL/NBL041.JPG": ("dermoscopic", "mel", True, "test"),
    }
    assert read["NEL/NEL025.JPG"]["lesion_id"] == read["NEL/Nel026.jpg"]["lesion_id"] == "derm7pt/1"
    assert read["NEL/Nel026.jpg"]["uri"] == f"{tmp_path}/images/NEL/Nel026.jpg"
    twin = read["NBL/NBL041.JPG as clinic"]  # the note of four such lines of the published table
    assert twin["status"] == "rejected" and twin["reason"].startswith("clinical image missing") and "uri" not in twin
    assert "status" not in read["NBL/NBL041.JPG"]


def test_indexes_count_lines_and_not_cases(tmp_path: Path) -> None:
    # the reader takes `metadata_df.iloc[train_indexes]`
    cases = [case(7, "lentigo", "a.jpg", "b.jpg"), case(5, "melanosis", "c.jpg", "d.jpg"), case(1, "lentigo", "e", "f")]
    folder = tree(tmp_path, *cases, train="1\n", valid="2\n", test="0\n")
    read = rows_of("derm7pt", folder)
    assert [row["split"] for row in read] == ["test", "test", "train", "train", "val", "val"]


def test_indexes_of_another_release_and_cases_in_two_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"test_indexes.csv: index '3': expected 0 to 2, a line of .*meta.csv"):
        rows_of("derm7pt", three(tmp_path / "a", test="3\n"))
    with pytest.raises(ValueError, match="case '1' is in train too"):
        rows_of("derm7pt", three(tmp_path / "b", valid="0\n"))
    without = rows_of("derm7pt", three(tmp_path / "c", test="0\n", train="2\n"), indexes=None)
    assert {row["split"] for row in without} == {None}


def test_awkward_cases(tmp_path: Path) -> None:
    # "nevus" is in the authors' grouping (ArgenzianoDatasetGroupInfrequent) and in no line of theirs
    cases = [
        case(1, "nevus", "a.jpg", "b.jpg"),
        case(2, "", "c.jpg", "d.jpg", "?"),
        case(3, "miscellaneous", "", "f.jpg"),
    ]
    strange, _, bare, _, gone, open_ = rows_of("derm7pt", tree(tmp_path, *cases))
    assert strange["status"] == "rejected" and strange["reason"].endswith("'nevus'")
    assert {bare[name] for name in ("diagnosis", "entity", "malignant", "sex")} == {None}
    assert gone["status"] == "failed" and gone["reason"].startswith("table row names no image")
    assert (open_["diagnosis"], open_["malignant"]) == ("miscellaneous", None)
