"""SCIN in the layout of its bucket. Columns and values: its dataset_schema.md and scin_demo.ipynb, which ran on it."""

from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from dermray.datasets.labels.table import labels_of
from dermray.datasets.scin import BODY_PARTS, SourceConfig
from tests.datasets.published import by_id, preset_sources, rows_of, write

CASES = ["case_id", "source", "release", "year", "age_group", "sex_at_birth", "fitzpatrick_skin_type", *BODY_PARTS,
         "image_1_path", "image_2_path", "image_3_path", "image_1_shot_type"]  # fmt: skip
LABELS = ["case_id", "dermatologist_gradable_for_skin_condition_1", "dermatologist_skin_condition_on_label_name",
          "weighted_skin_condition_label", "dermatologist_fitzpatrick_skin_type_label_1",
          "dermatologist_fitzpatrick_skin_type_label_2", "dermatologist_fitzpatrick_skin_type_label_3",
          "monk_skin_tone_label_india", "monk_skin_tone_label_us"]  # fmt: skip
# The 25 conditions that are the heaviest most often, and the growths: audits of the published table
FREQUENT = """
    Eczema; Allergic Contact Dermatitis; Urticaria; Insect Bite; Folliculitis; Psoriasis; Tinea; Impetigo; Herpes
    Zoster; Pigmented purpuric eruption; Acne; Drug Rash; Herpes Simplex; Acute dermatitis, NOS; Pityriasis rosea;
    Irritant Contact Dermatitis; Tinea Versicolor; CD - Contact dermatitis; Keratosis pilaris; Lichen Simplex
    Chronicus; Rosacea; Viral Exanthem; Lichen planus/lichenoid eruption; O/E - ecchymoses present; Granuloma
    annulare
"""
GROWTHS = {"SCC/SCCIS": True, "Basal Cell Carcinoma": True, "Melanoma": True, "Cutaneous T Cell Lymphoma": True,
           "Actinic Keratosis": None, "SK/ISK": False, "Melanocytic Nevus": False, "Dermatofibroma": False}  # fmt: skip


def line(columns: list[str], **cells: str) -> str:
    return ",".join(f'"{cells.get(name, "")}"' for name in columns) + "\n"


def tree(folder: Path, *cases: dict[str, str]) -> Path:
    """Both tables; a case's cells go into each that has their column."""
    given = [{"case_id": str(-5156441036700827606 + i), "image_1_path": f"dataset/images/{i}.png"} | case
             for i, case in enumerate(cases)]  # fmt: skip
    tables = {"dataset/scin_cases.csv": CASES, "dataset/scin_labels.csv": LABELS}
    texts = {name: ",".join(columns) + "\n" + "".join(line(columns, **case) for case in given)
             for name, columns in tables.items()}  # fmt: skip
    return write(folder, **texts)


def weighted(text: str) -> dict[str, str]:
    return {"weighted_skin_condition_label": text}


def test_the_frequent_conditions_and_the_growths_are_known() -> None:
    known = labels_of("scin")
    assert all(known[" ".join(word.split()).lower()].malignant is False for word in FREQUENT.split(";"))
    assert {word: known[word.lower()].malignant for word in GROWTHS} == GROWTHS


def test_a_row_for_each_image_of_a_case(tmp_path: Path) -> None:
    three = {f"image_{i}_path": f"dataset/images/{name}.png" for i, name in enumerate(("-22", "7", "8"), start=1)}
    case = {"age_group": "AGE_30_TO_39", "sex_at_birth": "FEMALE", "body_parts_arm": "YES", "case_id": "-5",
            "dermatologist_fitzpatrick_skin_type_label_1": "FST3", "monk_skin_tone_label_us": "4.0",
            **weighted("{'Eczema': 0.69, 'Psoriasis': 0.31}")}  # fmt: skip
    [given] = preset_sources("scin", tree(tmp_path, case | three, {"age_group": "AGE_UNKNOWN"}))
    read = by_id(rows_of(given.pop("source"), given.pop("path"), **given))
    assert len(read) == 4 and not any(row.get("status") or row["cell_issues"] for row in read.values())
    first = read["-5/dataset/images/-22.png"]
    expected = {"diagnosis": "Eczema", "malignant": False, "entity": "other", "fitzpatrick": 3,
                "skin_tone": "B", "age": 34.5, "sex": "female", "site": "arm", "modality": "clinical",
                "lesion_id": "scin/-5"}  # fmt: skip
    assert first.items() >= expected.items() and first["uri"] == f"{tmp_path}/dataset/images/-22.png"
    assert Counter(row["lesion_id"] for row in read.values())["scin/-5"] == 3
    last = list(read.values())[-1]
    assert {
        last.get(name) for name in ("diagnosis", "malignant", "fitzpatrick", "skin_tone", "age", "sex", "site")
    } == {None}


@pytest.mark.parametrize(
    ("text", "diagnosis", "malignant", "entity"),
    [
        ("{'Melanoma': 1.0}", "Melanoma", True, "mel"),
        ("{'Melanocytic Nevus': 0.7, 'Melanoma': 0.3}", "Melanocytic Nevus", None, None),
        ("{'Melanoma': 0.67, 'Basal Cell Carcinoma': 0.33}", "Melanoma", True, "mel"),
        ("{'Eczema': 0.5, 'Psoriasis': 0.5}", None, False, None),  # none is the heaviest
        ("{'SK/ISK': 0.6, 'Actinic Keratosis': 0.4}", "SK/ISK", None, None),
        ("{}", None, None, None),  # README: 48 cases are gradable and have none
        ("", None, None, None),
    ],
)
def test_a_differential_diagnosis(
    tmp_path: Path, text: str, diagnosis: str | None, malignant: bool | None, entity: str | None
) -> None:
    [row] = rows_of("scin", tree(tmp_path, weighted(text)))
    assert (row["diagnosis"], row["malignant"], row["entity"]) == (diagnosis, malignant, entity)
    assert not row["cell_issues"] and "status" not in row


def test_whose_word_for_skin_tones_counts(tmp_path: Path) -> None:
    types = [f"dermatologist_fitzpatrick_skin_type_label_{i}" for i in (1, 2, 3)]
    agree = dict(zip(types, ("FST5", "FST5", ""), strict=True)) | {"fitzpatrick_skin_type": "FST2"}
    near = dict(zip(types, ("FST1", "FST2", "FST2"), strict=True)) | {"monk_skin_tone_label_us": "2"}
    torn = dict(zip(types, ("FST2", "FST3", "FST2"), strict=True)) | {"fitzpatrick_skin_type": "NONE_IDENTIFIED"}
    folder = tree(tmp_path, agree, near, torn)
    tones = [(row["fitzpatrick"], row["skin_tone"]) for row in rows_of("scin", folder)]
    assert tones == [(5, "C"), (None, "A"), (None, None)]
    own = rows_of("scin", folder, tone_of="contributor")
    assert [(row["fitzpatrick"], row["skin_tone"]) for row in own] == [(2, "A"), (None, None), (None, None)]
    assert not any(row["cell_issues"] for row in own), "NONE_IDENTIFIED of the table, NONE_SELECTED of the schema"
    monk = rows_of("scin", folder, tone_of="monk_us", monk={"2": "A"})
    assert [row["skin_tone"] for row in monk] == [None, "A", None]
    with pytest.raises(ValidationError, match="expected groups of Monk tones"):
        SourceConfig(path="x", tone_of="monk_us")


def test_awkward_cases(tmp_path: Path) -> None:
    # one image in two cases (README: 15 images appear 42 times); an image that is named and not there (issue #1); two
    # parts of the body; a condition that the table does not know, heaviest or not; a label that is cut
    twice = {"image_1_path": "dataset/images/a.png", "body_parts_arm": "YES", "body_parts_leg": "YES"}
    strange = weighted("{'Bubonic plague': 1.0}")
    beside = weighted("{'Eczema': 0.9, 'Bubonic plague': 0.1}")
    cases = [twice, {"image_1_path": "dataset/images/a.png", "image_2_path": "dataset/images/a.png"}, strange, beside,
             weighted("{'Eczema': 0.5, 'Psor"), {"image_1_path": ""}]  # fmt: skip
    read = list(by_id(rows_of("scin", tree(tmp_path, *cases))).values())
    assert len(read) == 6 and read[0]["uri"] == read[1]["uri"] and read[0]["site"] is None
    assert read[2]["status"] == "rejected" and read[2]["reason"].endswith("'Bubonic plague'")
    assert (read[3]["diagnosis"], read[3]["malignant"], len(read[3]["cell_issues"])) == ("Eczema", None, 1)
    assert read[4]["malignant"] is None and "expected a condition's weight" in read[4]["cell_issues"][0]
    assert read[5]["status"] == "failed" and read[5]["reason"].startswith("table row names no image")
