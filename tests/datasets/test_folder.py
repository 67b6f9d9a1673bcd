from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dermray.config import ConfigError, validate
from dermray.datasets import class_folders, folder
from dermray.datasets.folder import SourceConfig
from dermray.datasets.listing import files
from dermray.datasets.sources import open_table, rows


def config(path: Path | str = "/d", **settings: Any) -> SourceConfig:
    return validate(SourceConfig, {"path": str(path), "name": "clinic", **settings})


def read(path: Path, text: str, **settings: Any) -> list[dict[str, Any]]:
    (path / "t.csv").write_text(text)
    given = config(path, table="t.csv", **settings)
    found = open_table(given, [given.image_column, *dict.fromkeys(given.columns.values())])
    return [row for c in found.chunks for row in rows(found.table, c, lambda cells: folder.to_row(cells, given), given)]


def test_columns_are_mapped_and_read_by_our_rules(tmp_path: Path) -> None:
    columns = {"diagnosis": "dx", "fitzpatrick": "FST", "patient_id": "p", "age": "age", "modality": "how"}
    text = "image,dx,fst,p,age,how\na.jpg,MEL,V,7,85+,Dermoscopy\nb.jpg,nv,9,N/A,999,x-ray\n"
    a, b = read(tmp_path, text, columns=columns, malignant_classes=["mel"], benign_classes=["NV"])
    expected = {"malignant": True, "entity": "mel", "skin_tone": "C", "patient_id": "clinic/7", "age": 85.0,
                "uri": f"{tmp_path}/a.jpg", "diagnosis": "MEL", "modality": "dermoscopic"}  # fmt: skip
    assert a.items() >= expected.items() and not a["cell_issues"]
    assert b["malignant"] is False and {b[n] for n in ("fitzpatrick", "patient_id", "age", "modality")} == {None}
    assert [issue.partition(":")[0] for issue in b["cell_issues"]] == ["fitzpatrick", "age", "modality"]
    assert b["skin_tone"] is None and b.get("status") is None


def test_a_config_says_what_words_mean(tmp_path: Path) -> None:
    words = {
        "malignant": {"non-neoplastic": False, "in situ": None},
        "skin_tone": {"dark": "C"},
        "fitzpatrick": {"-1": None},
    }
    columns = {"malignant": "label", "skin_tone": "tone", "fitzpatrick": "fst"}
    text = "image,label,tone,fst\na,Non-Neoplastic,dark,-1\nb,malignant,12,-1\nc,in situ,?,-1\nd,odd,56,-1\n"
    read_ = read(tmp_path, text, columns=columns, words=words, extension=".png")
    assert [row["malignant"] for row in read_] == [False, True, None, None]
    assert [row["skin_tone"] for row in read_] == ["C", "A", None, "C"]
    assert [len(row["cell_issues"]) for row in read_] == [0, 0, 0, 1] and read_[0]["uri"] == f"{tmp_path}/a.png"


def test_a_skin_tone_that_contradicts_the_fitzpatrick_type_is_unknown(tmp_path: Path) -> None:
    columns = {"fitzpatrick": "fst", "skin_tone": "tone"}
    read_ = read(tmp_path, "image,fst,tone\na,1,A\nb,1,C\nc,VI,\nd,,34\n", columns=columns)
    assert [row["skin_tone"] for row in read_] == ["A", None, "C", "B"]
    assert [len(row["cell_issues"]) for row in read_] == [0, 1, 0, 0]


def test_a_label_needs_a_rule(tmp_path: Path) -> None:
    text = "image,dx\na,MEL\nb,nv\nc,\nd,scc\n"
    columns = {"diagnosis": "dx"}
    labels = [r["malignant"] for r in read(tmp_path, text, columns=columns, malignant_classes=["mel"])]
    assert labels == [True, None, None, None]
    rest = {"malignant_classes": ["mel", "scc"], "other_classes_are": "benign"}
    assert [r["malignant"] for r in read(tmp_path, text, columns=columns, **rest)] == [True, False, None, True]
    assert [r["entity"] for r in read(tmp_path, text, columns=columns)] == ["mel", "nv", None, "other"]


def test_a_label_that_contradicts_the_class_lists_is_unknown_like_its_class(tmp_path: Path) -> None:
    settings = {"columns": {"diagnosis": "dx", "malignant": "m"}, "malignant_classes": ["mel"]}
    text = "image,dx,m\na,mel,1\nb,mel,0\nc,nv,1\nd,mel,\n"
    read_ = read(tmp_path, text, **settings, other_classes_are="benign")
    assert [row["malignant"] for row in read_] == [True, None, None, True], "a malignant nevus is neither"
    assert [row["diagnosis"] for row in read_] == ["mel", None, "nv", "mel"] and len(read_[1]["cell_issues"]) == 1


def test_a_label_that_contradicts_the_diagnosis_is_unknown(tmp_path: Path) -> None:
    """An inverted label column would otherwise pass whole."""
    text = "image,dx,m\na,melanoma,0\nb,nevus,1\nc,bcc,benign\nd,nevus,0\ne,actinic keratosis,1\n"
    read_ = read(tmp_path, text, columns={"diagnosis": "dx", "malignant": "m"})
    assert [row["malignant"] for row in read_] == [None, None, None, False, True]
    assert "malignant: expected malignant for entity mel" in read_[0]["cell_issues"][0]


def test_what_the_others_are_holds_for_nothing_whose_entity_is_the_opposite() -> None:
    settings = config(malignant_classes=["mel"], other_classes_are="benign")
    assert [settings.malignant(word) for word in ("MEL", "malignant melanoma", "wart", None)] == [
        True,
        None,
        False,
        None,
    ]
    facts = folder.check_classes(Counter({"MEL": 3, "wart": 2, "malignant melanoma": 1}), settings)
    assert facts == {"classes_of_unknown_label": {"malignant melanoma": 1}, "classes_taken_as_benign": {"wart": 2}}


def test_a_split_that_nobody_knows_is_not_dealt_into_train(tmp_path: Path) -> None:
    read_ = read(tmp_path, "image,s\na,train\nb,holdout\nc,\n", columns={"split": "s"})
    assert [(row.get("status"), row["split"]) for row in read_] == [(None, "train"), ("rejected", None), (None, None)]
    assert "split" in read_[1]["reason"]


def test_one_name_in_two_spellings_of_unicode_is_one_patient(tmp_path: Path) -> None:
    read_ = read(tmp_path, "image,p\na,Jos\u00e9\nb,Jose\u0301\n", columns={"patient_id": "p"})
    assert len({row["patient_id"] for row in read_}) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"colour": "c"}}, "expected keys out of"),
        ({"columns": {"age": "a"}, "words": {"sex": {"x": "female"}}}, "expected these among the keys of `columns`"),
        (
            {"columns": {"malignant": "m"}, "words": {"malignant": {"x": "perhaps"}}},
            "malignant: x: 'perhaps': expected",
        ),
        ({"malignant_classes": ["mel"], "benign_classes": ["MEL "]}, "are among malignant_classes too"),
        ({"modality": "x-ray"}, "modality='x-ray'"),
        ({"bad_cells": "keep"}, "bad_cells='keep'"),
    ],
)
def test_configs_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"malignant_classes": ["melanom"]},
            r"malignant_classes: \['melanom'\] match nothing.*nearest: \['Melanoma'\]",
        ),
        ({"malignant_classes": ["melanoma"], "benign_classes": ["nevi"]}, r"benign_classes: \['nevi'\] match nothing"),
        ({"words": {"diagnosis": {"nvv": "nv"}}}, r"words.diagnosis: \['nvv'\] match nothing.*nearest: \['NV'\]"),
        ({"columns": {"diagnosis": "diag"}}, r"columns \['diag'\] are missing \(the nearest: .*'diagnosis'\]\)"),
        ({"image_column": "file"}, r"columns \['file'\] are missing"),
    ],
)
def test_entries_that_match_nothing_stop_before_anything_starts(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    (tmp_path / "t.csv").write_text("image,diagnosis\na,Melanoma\nb,NV\n")
    given = {"table": "t.csv", "columns": {"diagnosis": "diagnosis"}} | settings
    with pytest.raises(ValueError, match=message):
        folder.read(config(tmp_path, **given))


def check_classes(settings: folder.SourceConfig) -> None:
    """As `folder.read` does with what the tasks that list the files hand back; without Ray."""
    told = class_folders.Told()
    list(class_folders.rows_of(settings.path, files(settings.path), told))
    folder.check_classes(told.classes, settings)


def test_class_folders_must_match_too(tmp_path: Path) -> None:
    for name in ("MEL", "NV"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"malignant_classes: \['bcc'\] match nothing in the data.*there are: \['MEL', 'NV'\]"
    ):
        check_classes(config(tmp_path, malignant_classes=["mel", "bcc"]))


def test_files_in_no_class_folder_match_no_class(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"malignant_classes: \['mel'\] match nothing in the data; there are: \[\]"):
        check_classes(config(tmp_path, malignant_classes=["mel"]))


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        folder.read(config(tmp_path / "none"))
