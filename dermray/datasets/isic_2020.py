"""ISIC 2020 (Rotemberg et al. 2021, SIIM-ISIC): dermoscopic, with patients, CC BY-NC 4.0.

Published as ISIC_2020_Training_GroundTruth.csv (train.csv at Kaggle; version 2 adds lesion_id). The 425 pairs of
ISIC_2020_Training_Duplicates.csv need no reading: both of a pair are of one patient, and patients are never split.
"""

from pydantic import Field

from dermray.datasets.cells import SEX, TRUTH, Cells, age, plain
from dermray.datasets.labels import ENTITY
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

REQUIRED = ["image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge", "diagnosis", "target"]
OPTIONAL = ["benign_malignant", "lesion_id"]
# A lentigo "not otherwise specified" may be solar, and so of bkl, or not.
ENTITIES: dict[str, str | None] = {
    **ENTITY,
    "cafe-au-lait macule": "other", "atypical melanocytic proliferation": "other", "lentigo nos": None,
}  # fmt: skip


class SourceConfig(TableConfig):
    """Where the table and the images lie."""

    table: str | None = "ISIC_2020_Training_GroundTruth.csv"
    images: str | list[str] = "train"
    extension: str | None = Field(".jpg", min_length=0)


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row. `target` is 1 for melanoma; the set holds no carcinoma, so 0 is benign."""
    diagnosis = cells.text("diagnosis")
    return {
        "file": cells.text("image_name"),
        "source_id": cells.text("image_name"),
        "patient_id": cells.identity("patient_id", config.source),
        "lesion_id": cells.identity("lesion_id", config.source),
        "diagnosis": diagnosis,
        "entity": cells.read("diagnosis", ENTITIES),
        "malignant": _malignant(cells),
        "modality": "dermoscopic",
        "age": cells.read("age_approx", age),
        "sex": cells.read("sex", SEX),
        "site": cells.read("anatom_site_general_challenge", plain),
        "licence": "CC-BY-NC-4.0",
    }


def _malignant(cells: Cells) -> bool | None:
    target, word = cells.read("target", TRUTH), cells.read("benign_malignant", TRUTH)
    if None not in (target, word) and target != word:
        cells.doubt("target", "expected the same as benign_malignant says")
        return None
    return word if target is None else target


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    return read_table(open_table(config, REQUIRED, OPTIONAL), to_row, config)
