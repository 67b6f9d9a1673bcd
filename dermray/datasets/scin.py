"""SCIN (Ward et al. 2024, arXiv:2402.18545): photographs that people in the USA took of their own skin.

5,033 cases, each of up to three images, 10,407 in all; SCIN Data Use License. Published in the bucket
gs://dx-scin-public-data as dataset/scin_cases.csv (a line per case: image_1_path to image_3_path below the bucket, what
the contributor says) beside dataset/scin_labels.csv (a line per case: what dermatologists and laymen say of the
photos). One image is named and not there (issue #1), 15 are there several times.

`weighted_skin_condition_label` is a differential diagnosis by photograph, not by biopsy. The diagnosis is its heaviest
condition, if there is one; it is malignant or benign only if all its conditions are. Fitzpatrick's type is the one that
all dermatologists who gave one agree on, the group of tones likewise; `tone_of` takes the contributor's own, or the
Monk tone of the graders in the USA or India, whose groups are then yours to say (`monk`).

It lacks patients (a case is one contribution), a split, and a label for the 1,972 cases that nobody could name. From
https://github.com/google-research-datasets/scin.
"""

import ast
from functools import partial
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from dermray.datasets import tables
from dermray.datasets.cells import SEX, TRUTH, BadCell, Cells, fitzpatrick
from dermray.datasets.joined import Lines, Opened, beside, look_up
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table
from dermray.records import skin_tone_of

IMAGES = ["image_1_path", "image_2_path", "image_3_path"]
BODY = ["head_or_neck", "arm", "palm", "back_of_hand", "torso_front", "torso_back", "genitalia_or_groin", "buttocks",
        "leg", "foot_top_or_side", "foot_sole", "other"]  # fmt: skip
BODY_PARTS = [f"body_parts_{part}" for part in BODY]
REQUIRED = ["case_id", "age_group", "sex_at_birth", "fitzpatrick_skin_type", *IMAGES]
TYPES = [f"dermatologist_fitzpatrick_skin_type_label_{number}" for number in (1, 2, 3)]
MONK = {"monk_us": "monk_skin_tone_label_us", "monk_india": "monk_skin_tone_label_india"}
LABELS = ["weighted_skin_condition_label", *TYPES, *MONK.values()]

# Midpoints. The youngest group spans 12 years, more than `cells` takes for an age: a choice, for it is the largest.
DECADES = ((18, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, 79))
AGES = {f"age_{low}_to_{high}": (low + high) / 2 for low, high in DECADES}
AGE: dict[str, float | None] = {**AGES, "age_80_or_above": 80.0, "age_unknown": None}
SEXES: dict[str, str | None] = {**SEX, "other_or_unspecified": None}
NO_TYPE = ["NONE_SELECTED", "NONE_IDENTIFIED"]  # the first in the schema, the second in the table


Monk = Literal["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]


class SourceConfig(TableConfig):
    """Where the tables and the images lie, and whose word for skin tones counts."""

    table: str | None = "dataset/scin_cases.csv"
    labels: str = Field("dataset/scin_labels.csv", description="what dermatologists say of the cases")
    images: str | list[str] = "."
    tone_of: Literal["dermatologists", "contributor", "monk_us", "monk_india"] = "dermatologists"
    monk: dict[Monk, Literal["A", "B", "C"]] = Field({}, description="Monk tone, 1 to 10 -> group of skin tones")

    @model_validator(mode="after")
    def _mapped(self) -> "SourceConfig":
        if (self.tone_of in MONK) != bool(self.monk):
            raise ValueError(
                "monk: expected groups of Monk tones where tone_of is monk_us or monk_india, and only there"
            )
        return self


def images(values: dict[str, str]) -> list[dict[str, str]]:
    """The cells of a case for each image that it names, once; of a case without any, for none of them."""
    named = dict.fromkeys(values[column].strip() for column in IMAGES if values[column].strip())
    return [values | {"image": name} for name in named] or [values | {"image": ""}]


def to_row(cells: Cells, config: SourceConfig, lines: Lines) -> Row:
    """One image of a case with its case's line in the table of labels."""
    look_up(cells, "case_id", lines, "table of labels")
    name, case = cells.text("image"), cells.text("case_id")
    return {
        "file": name,
        "source_id": f"{case}/{name}" if case and name else name,  # 15 images are in several cases
        "lesion_id": cells.identity("case_id", config.source),
        **_label(cells, config),
        "modality": "clinical",
        **_tone(cells, config),
        "age": cells.read("age_group", AGE),
        "sex": cells.read("sex_at_birth", SEXES),
        "site": _site(cells),
        "licence": "LicenseRef-SCIN-Data-Use-License",
    }


def _label(cells: Cells, config: SourceConfig) -> Row:
    """The heaviest condition of the differential diagnosis; its label where all the others share it."""
    known, weights = labels_of(config.vocabulary, config.more_labels), _weights(cells)
    heaviest = [name for name, weight in weights.items() if weight == max(weights.values())]
    cells.values["condition"] = heaviest[0] if len(heaviest) == 1 else ""
    said = label(cells, "condition", known)
    if "status" in said or not weights:
        return said
    meant: set[bool | None] = set()
    for name in weights:
        cells.values["condition"] = name
        meaning = label(cells, "condition", known)
        if "status" in meaning:
            cells.doubt("condition", "expected a condition that the source's table of labels knows")
        meant.add(meaning["malignant"])
    if len(meant) == 1:
        return said | {"malignant": meant.pop()}
    return said | {"entity": None, "malignant": None}


def _weights(cells: Cells) -> dict[str, float]:
    """Conditions and their weights, {'Eczema': 0.69, 'Psoriasis': 0.31}; none where there is no label."""
    text = cells.text("weighted_skin_condition_label")
    try:
        weights = ast.literal_eval(text or "{}")
        return {str(name): float(weight) for name, weight in weights.items()}
    except (ValueError, SyntaxError, AttributeError, TypeError):
        cells.doubt("weighted_skin_condition_label", "expected a condition's weight, {'Eczema': 1.0}")
        return {}


def _tone(cells: Cells, config: SourceConfig) -> Row:
    """Fitzpatrick's type, the group of tones, by who is asked; None where those who are asked do not agree."""
    if config.tone_of in MONK:
        tone = cells.read(MONK[config.tone_of], _monk)
        return {"skin_tone": None if tone is None else config.monk.get(tone)}  # type: ignore[call-overload]
    columns = TYPES if config.tone_of == "dermatologists" else ["fitzpatrick_skin_type"]
    read = [cells.read(column, fitzpatrick, missing=NO_TYPE) for column in columns]
    types = {kind for kind in read if kind is not None}
    groups = {skin_tone_of(kind) for kind in types}
    return {
        "fitzpatrick": types.pop() if len(types) == 1 else None,
        "skin_tone": groups.pop() if len(groups) == 1 else None,
    }


def _monk(text: str) -> str:
    """A Monk tone, written as 3 or 3.0.

    Raises:
        BadCell: none of 1 to 10.
    """
    tone = text.removesuffix(".0")
    if tone not in get_args(Monk):
        raise BadCell("expected a Monk tone, 1 to 10")
    return tone


def _site(cells: Cells) -> str | None:
    """The part of the body, where the contributor ticked one alone."""
    ticked = [part for part, column in zip(BODY, BODY_PARTS, strict=True) if cells.read(column, TRUTH)]
    return ticked[0].replace("_", " ") if len(ticked) == 1 and ticked != ["other"] else None


def opened(config: SourceConfig) -> Opened:
    """The tables, read through once."""
    found = open_table(config, REQUIRED, BODY_PARTS)
    lines, facts = beside(config, found, config.labels, "case_id", LABELS)
    made: dict[str, Any] = {"labels": facts, "cases": found.rows}
    return Opened(tables.several_images(found, images), partial(to_row, lines=lines), made)


def read(config: SourceConfig) -> Reading:
    """All images of all cases."""
    found, make, facts = opened(config)
    return read_table(found, make, config, facts)
