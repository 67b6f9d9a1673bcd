"""MILK10k's real tables, and rows of it that are awkward."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from dermray.datasets.labels.table import labels_of
from dermray.datasets.milk10k import CLASSES
from tests.datasets.published import MILK, preset_sources, rows_of, write

TRUTH = f"lesion_id,{','.join(CLASSES)}\n"
WORDS = "isic_id,diagnosis_full,diagnosis_confirm_type,invasion_thickness_interval\n"


def published(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_the_training_set_by_class_and_in_pairs(shared: Path) -> None:
    # challenge.isic-archive.com/data/#milk10k: 10,480 images of 5,240 lesions
    folder = shared / "metadata"
    [train, _] = preset_sources("milk10k", folder)
    read = rows_of(train.pop("source"), train.pop("path"), **train)
    assert len(read) == 10480 and not any(row.get("status") or row["cell_issues"] for row in read)
    truth = published(folder / "MILK10k_Training_GroundTruth.csv").set_index("lesion_id").astype(float).idxmax(axis=1)
    table = published(folder / "MILK10k_Training_Metadata.csv")
    full = published(folder / "MILK10k_Training_Supplement.csv").set_index("isic_id").diagnosis_full
    assert [row["diagnosis"] for row in read] == full[table.isic_id].tolist()
    known, classes = labels_of("milk10k"), truth[table.lesion_id].tolist()
    for row, word in zip(read, classes, strict=True):
        entity, malignant = known[str(word).lower()]
        assert entity in (None, row["entity"]) and malignant in (None, row["malignant"]), row["source_id"]
    assert Counter(classes) == {"BCC": 5044, "NV": 1492, "BKL": 1088, "SCCKA": 946, "MEL": 900, "AKIEC": 606, "DF": 104,
                                "INF": 100, "VASC": 94, "BEN_OTH": 88, "MAL_OTH": 18}  # fmt: skip
    # of AKIEC the finer word decides: Bowen's disease is malignant, actinic keratosis open
    assert Counter(row["malignant"] for row in read if row["entity"] == "akiec") == {True: 360, None: 246}
    by_lesion = pd.DataFrame(read).groupby("lesion_id").modality.apply(set)
    assert len(by_lesion) == 5240 and all(kinds == {"clinical", "dermoscopic"} for kinds in by_lesion)
    assert read[0]["uri"] == f"{folder}/MILK10k_Training_Input/{table.lesion_id[0]}/{table.isic_id[0]}.jpg"
    assert {row["licence"] for row in read} == {"CC-BY-NC"} and {row["split"] for row in read} == {"train"}
    assert sum(row["age"] is None for row in read) == 40 and sum(row["site"] is None for row in read) == 62


def test_the_test_set_has_no_labels(shared: Path) -> None:
    _, test = preset_sources("milk10k", shared / "metadata")
    read = rows_of(test.pop("source"), test.pop("path"), **test)
    assert len(read) == 958 and len({row["lesion_id"] for row in read}) == 479
    assert {row["malignant"] for row in read} == {row["diagnosis"] for row in read} == {None}
    assert {row["split"] for row in read} == {"test"} and not any(row.get("status") for row in read)


def test_skin_tone_is_no_fitzpatrick_type_unless_the_user_says_what_it_is(shared: Path) -> None:
    # challenge.isic-archive.com/landing/milk10k: "from 0 (very dark) to 5 (very light) - designed to avoid confusion
    # with Fitzpatrick": public notebooks take it for Fitzpatrick's types, the right way round and upside down
    folder = shared / "metadata"
    read = rows_of("milk10k", folder)
    assert {row["skin_tone"] for row in read} == {None} and not any(row.get("fitzpatrick") for row in read)
    tones = {"0": "C", "1": "C", "2": "B", "3": "B", "4": "A", "5": "A"}
    mapped = Counter(row["skin_tone"] for row in rows_of("milk10k", folder, tones=tones))
    assert mapped == {"B": 6348 + 1012, "A": 2132 + 766, "C": 210 + 12}
    with pytest.raises(ValidationError, match="tones"):
        rows_of("milk10k", folder, tones={"6": "A"})


def one_hot(lesion: str, *classes: str) -> str:
    return f"{lesion},{','.join('1.0' if name in classes else '0.0' for name in CLASSES)}\n"


def test_two_classes_a_word_of_another_class_and_a_new_word(tmp_path: Path) -> None:
    pairs = [("IL_1", "ISIC_1"), ("IL_2", "ISIC_2"), ("IL_3", "ISIC_3"), ("IL_4", "ISIC_4"), ("", "ISIC_5")]
    images = "".join(
        f"{lesion},dermoscopic,{name},MILK study team,CC-BY-NC,altered,,male,3,\n" for lesion, name in pairs
    )
    write(
        tmp_path,
        milk10k=MILK + images,
        milk10k_truth=TRUTH + one_hot("IL_1", "NV", "MEL") + one_hot("IL_2", "NV") + one_hot("IL_3", "BKL"),
        milk10k_words=WORDS + "ISIC_1,,,\nISIC_2,Melanoma Invasive,histopathology,\nISIC_3,Stucco keratosis,,\n",
    )
    two, torn, strange, bare, nobody = rows_of("milk10k", tmp_path)
    assert two["malignant"] is None and "expected a single 1" in two["cell_issues"][0]
    assert torn["malignant"] is torn["entity"] is None and "expected one of the class NV" in torn["cell_issues"][0]
    assert strange["status"] == "rejected" and strange["reason"].endswith("'Stucco keratosis'")
    assert bare["malignant"] is None and len(bare["cell_issues"]) == 2, "no line in the truth, none in the supplement"
    assert nobody["lesion_id"] is None, "a missing lesion is nobody's"


def test_the_archives_words_are_as_malignant_here_as_in_the_archives_table() -> None:
    archive = labels_of("isic_archive")
    shared_words = {word: label for word, label in labels_of("milk10k").items() if word in archive}
    assert len(shared_words) > 40
    assert {w: archive[w].malignant for w in shared_words} == {w: label.malignant for w, label in shared_words.items()}
