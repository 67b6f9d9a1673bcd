"""DERM12345 in Harvard Dataverse's layout; its 40 subclasses as in Yilmaz et al. 2024 and readers of its table."""

from pathlib import Path

import pytest

from dermray.datasets.labels.table import labels_of
from tests.datasets.published import DERM, by_id, preset_sources, rows_of, write

CODES = "acb cb ccb mcb bdb db ajb cjb jb acd cd ccd ajd jd srjd rd isl ls sl lk sk df ha la pg angk sa ak"
CODES += " alm anm lm lmm mel bcc bd ch mpd scc dfsp ks"
MALIGNANT = "alm anm lm lmm mel bcc bd ch mpd scc dfsp ks"


def test_its_forty_subclasses_are_known_as_published() -> None:
    known = labels_of("derm12345")
    assert set(known) == set(CODES.split()) and len(known) == 40
    assert {code for code, meaning in known.items() if meaning.malignant} == set(MALIGNANT.split())
    assert [code for code, meaning in known.items() if meaning.malignant is None] == ["ak"]


def line(name: str, code: str, malignancy: str, patient: str = "P1") -> str:
    return f'"{name}"\t"{patient}"\t"{code}"\t"melanocytic"\t"{malignancy}"\t"banal"\t"compound"\t"acral"\n'


def test_tabs_quotes_and_a_folder_for_each_label(tmp_path: Path) -> None:
    # Dataverse hands its tables out as .tab: tabs, quoted words, a byte order mark
    train = "\ufeff" + DERM + line("DERM_1", "acb", "benign") + line("DERM_2", "ak", "indeterminate", "P2")
    test = DERM + line("DERM_3", "bcc", "malignant", "P3")
    write(tmp_path, derm12345=train, derm12345_test=test)
    for place in ("derm12345_train_part_2/acb/DERM_1.jpg", "derm12345_train_part_1/ak/DERM_2.jpg"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_bytes(b"x")
    given = preset_sources("derm12345", tmp_path)
    read = by_id([row for s in given for row in rows_of(s.pop("source"), s.pop("path"), **s)])
    told = {name: (r["entity"], r["malignant"], r["patient_id"], r["split"]) for name, r in read.items()}
    assert told == {
        "DERM_1": ("nv", False, "derm12345/P1", "train"),
        "DERM_2": ("akiec", None, "derm12345/P2", "train"),
        "DERM_3": ("bcc", True, "derm12345/P3", "test"),
    }
    assert [row["uri"].removeprefix(f"{tmp_path}/") for row in read.values()] == [
        "derm12345_train_part_2/acb/DERM_1.jpg", "derm12345_train_part_1/ak/DERM_2.jpg", "derm12345_test/bcc/DERM_3.jpg"
    ]  # fmt: skip
    assert not any(row["cell_issues"] for row in read.values())


@pytest.mark.parametrize("said", ["malignant", "neging"])
def test_a_malignancy_against_the_tree_makes_the_label_unknown(tmp_path: Path, said: str) -> None:
    # "neging" stands for isl in public lists of its labels
    [row] = rows_of("derm12345", write(tmp_path, derm12345=DERM + line("DERM_1", "isl", said)))
    assert row["malignant"] is None and row["diagnosis"] == "isl" and row["cell_issues"]


def test_a_code_of_nobody_no_patient_and_no_label(tmp_path: Path) -> None:
    lines = line("DERM_1", "nmm", "malignant") + line("DERM_2", "mel", "", "") + line("DERM_3", "", "")
    strange, nobody, bare = rows_of("derm12345", write(tmp_path, derm12345=DERM + lines))
    # "nmm" is in public mappings of its labels, though it is none of the 40
    assert strange["status"] == "rejected" and strange["reason"].endswith("'nmm'")
    assert (nobody["patient_id"], nobody["malignant"]) == (None, True)
    assert (bare["diagnosis"], bare["malignant"], bare.get("status")) == (None, None, None)
