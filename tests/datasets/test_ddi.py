"""DDI in its published layout. Its 78 diseases as public code that was run on its table lists them."""

from collections import Counter
from pathlib import Path

import pytest

from dermray.datasets.labels.table import labels_of
from tests.datasets.published import by_id, preset_sources, rows_of, write

HEADER = ",DDI_ID,DDI_file,skin_tone,malignant,disease\n"
# The cancers among the 78; the rest is benign but for three that can be either.
CANCERS = """
    basal-cell-carcinoma basal-cell-carcinoma-nodular basal-cell-carcinoma-superficial melanoma melanoma-in-situ
    melanoma-acral-lentiginous nodular-melanoma-(nm) squamous-cell-carcinoma squamous-cell-carcinoma-in-situ
    squamous-cell-carcinoma-keratoacanthoma mycosis-fungoides subcutaneous-t-cell-lymphoma kaposi-sarcoma
    metastatic-carcinoma sebaceous-carcinoma leukemia-cutis blastic-plasmacytoid-dendritic-cell-neoplasm
"""


def table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    text = header + "".join(f"{i},{i + 1},{i + 1:06}.png,{line}\n" for i, line in enumerate(lines))
    return write(folder, **{"ddi_metadata.csv": text})


def test_its_78_diseases_are_known() -> None:
    # the paper: "78 diseases"; ddi_metadata.csv's own words, such as condyloma-accuminatum
    known = labels_of("ddi")
    assert len(known) == 78 and {word for word, meaning in known.items() if meaning.malignant} == set(CANCERS.split())
    assert Counter(meaning.malignant for meaning in known.values()) == {True: 17, False: 58, None: 3}


def test_every_published_disease_and_group_without_an_issue(tmp_path: Path) -> None:
    known = labels_of("ddi")
    lines = [
        f"{(12, 34, 56)[i % 3]},{'True' if meaning.malignant else 'False'},{word}"
        for i, (word, meaning) in enumerate(known.items())
    ]
    [given] = preset_sources("ddi", table(tmp_path, *lines))
    read = by_id(rows_of(given.pop("source"), given.pop("path"), **given))
    assert len(read) == 78 and not any(row.get("status") or row["cell_issues"] for row in read.values())
    assert Counter(row["malignant"] for row in read.values()) == {True: 17, False: 61}, "open words: by the column"
    assert Counter(row["skin_tone"] for row in read.values()) == {"A": 26, "B": 26, "C": 26}
    assert read["000001.png"]["uri"] == f"{tmp_path}/000001.png" and {row["split"] for row in read.values()} == {None}


def test_images_moved_to_a_folder_and_the_older_name_of_a_column(tmp_path: Path) -> None:
    # DDI-Dataset/DDI-Code, ddi_dataset.py: "this requires moving all .png files into a new subdirectory", and it takes
    # `malignancy(malig=1)` where there is no `malignant`
    header = HEADER.replace("malignant", "malignancy(malig=1)")
    folder = table(tmp_path, "56,1,melanoma-in-situ", "12,0,wart", header=header)
    one, two = rows_of("ddi", folder, images="images")
    assert (one["malignant"], two["malignant"]) == (True, False)
    assert one["uri"] == f"{tmp_path}/images/000001.png"


@pytest.mark.parametrize("disease", ["basal-cell-carcinoma", "kaposi-sarcoma", "squamous-cell-carcinoma-in-situ"])
def test_a_cancer_that_the_column_calls_benign_has_no_label(tmp_path: Path, disease: str) -> None:
    [row] = rows_of("ddi", table(tmp_path, f"34,False,{disease}"))
    assert row["malignant"] is None and row["diagnosis"] == disease and len(row["cell_issues"]) == 1


def test_awkward_rows(tmp_path: Path) -> None:
    # a word of public lists that is none of DDI's ("xanthograngioma", pasted into several readers' rare_diseases), no
    # malignancy, a Fitzpatrick type in the place of a group
    lines = ["12,False,xanthograngioma", "12,,melanocytic-nevi", "5,True,melanoma", "56,True,"]
    strange, open_, tone, bare = rows_of("ddi", table(tmp_path, *lines))
    assert strange["status"] == "rejected" and strange["reason"].endswith("'xanthograngioma'")
    assert (open_["malignant"], open_["entity"]) == (None, "nv"), "no cell, no label: the column decides"
    assert tone["skin_tone"] is None and "skin_tone" in tone["cell_issues"][0] and tone["malignant"] is True
    assert (bare["diagnosis"], bare["malignant"]) == (None, True)
