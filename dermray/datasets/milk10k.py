"""MILK10k (Tschandl et al. 2025): a close-up photograph and a dermoscopic image of each lesion, CC BY-NC 4.0.

5,240 lesions to train and 479 to test, each of two images. Published as MILK10k_Training_Metadata.csv (a line per
image), MILK10k_Training_GroundTruth.csv (a line per lesion, a column per class) and MILK10k_Training_Supplement.csv (a
line per image: diagnosis_full in the archive's words) beside MILK10k_Training_Input/<lesion_id>/<isic_id>.jpg; the test
set as MILK10k_Test_Metadata.csv and MILK10k_Test_Input.

It lacks patients, and the test set's labels. Skin tone is skin_tone_class, 0 (very dark) to 5 (very light), "designed
to avoid confusion with" Fitzpatrick's types: it becomes a group of ours only where `tones` says which. From
https://challenge.isic-archive.com/landing/milk10k.
"""

from functools import partial
from typing import Literal

from pydantic import Field

from dermray.datasets.cells import MODALITY, SEX, Cells, age, plain
from dermray.datasets.joined import Lines, Opened, beside, look_up
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

CLASSES = ["AKIEC", "BCC", "BEN_OTH", "BKL", "DF", "INF", "MAL_OTH", "MEL", "NV", "SCCKA", "VASC"]
REQUIRED = ["isic_id", "lesion_id", "image_type", "age_approx", "sex", "site", "copyright_license", "skin_tone_class"]


class SourceConfig(TableConfig):
    """Where the tables and the images lie."""

    table: str | None = "MILK10k_Training_Metadata.csv"
    images: str | list[str] = "MILK10k_Training_Input"
    labels: str | None = Field("MILK10k_Training_GroundTruth.csv", description="null for the test set")
    supplement: str | None = Field("MILK10k_Training_Supplement.csv", description="finer diagnoses; null for none")
    tones: dict[Literal["0", "1", "2", "3", "4", "5"], Literal["A", "B", "C"]] = Field(
        {}, description="skin_tone_class -> group of skin tones: a guess that the publisher does not make"
    )
    extension: str | None = Field(".jpg", min_length=0)


def to_row(cells: Cells, config: SourceConfig, truth: Lines | None, words: Lines | None) -> Row:
    """One image of the metadata with its lesion's line in the ground truth and its own in the supplement."""
    if truth is not None:
        look_up(cells, "lesion_id", truth, "ground truth")
    if words is not None:
        look_up(cells, "isic_id", words, "supplement")
    name, lesion = cells.text("isic_id"), cells.text("lesion_id")
    return {
        "file": f"{lesion}/{name}" if name and lesion else name,
        "source_id": name,
        "lesion_id": cells.identity("lesion_id", config.source),
        **_label(cells, config),
        "modality": cells.read("image_type", MODALITY),
        "skin_tone": config.tones.get(cells.text("skin_tone_class") or ""),  # type: ignore[call-overload]
        "age": cells.read("age_approx", age),
        "sex": cells.read("sex", SEX),
        "site": cells.read("site", plain),
        "licence": cells.text("copyright_license"),
    }


def _label(cells: Cells, config: SourceConfig) -> Row:
    """The class's, where it says one; what it leaves open the finer word decides. The word is the diagnosis."""
    known = labels_of(config.vocabulary, config.more_labels)
    cells.values["class"] = cells.one_hot(CLASSES) or ""
    coarse, fine = label(cells, "class", known), label(cells, "diagnosis_full", known)
    if fine["diagnosis"] is None or "status" in fine:
        return coarse | fine if "status" in fine else coarse
    for name in ("entity", "malignant"):
        if None not in (coarse[name], fine[name]) and coarse[name] != fine[name]:
            cells.doubt("diagnosis_full", f"expected one of the class {coarse['diagnosis']}")
            return fine | {"entity": None, "malignant": None}
        fine[name] = coarse[name] if fine[name] is None else fine[name]
    return fine


def opened(config: SourceConfig) -> Opened:
    """The tables, read through once."""
    found, facts, truth, words = open_table(config, REQUIRED), {}, None, None
    if config.labels is not None:
        truth, facts["labels"] = beside(config, found, config.labels, "lesion_id", CLASSES)
    if config.supplement is not None:
        words, facts["supplement"] = beside(config, found, config.supplement, "isic_id", ["diagnosis_full"])
    return Opened(found, partial(to_row, truth=truth, words=words), facts)


def read(config: SourceConfig) -> Reading:
    """All lines of the metadata."""
    found, make, facts = opened(config)
    return read_table(found, make, config, facts)
