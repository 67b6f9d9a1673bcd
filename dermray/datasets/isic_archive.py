"""ISIC Archive downloads, flattened to a table with one line per image: dermoscopic and clinical, licence per image.

Read are the archive's own names and those of its newer exports (isic_id, diagnosis_1, diagnosis_3, copyright_license).
"""

from pydantic import Field

from dermray.datasets.cells import MODALITY, SEX, TRUTH, Cells, age, plain
from dermray.datasets.labels import entity_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

REQUIRED = ["image_id|isic_id|image_name", "diagnosis|diagnosis_3", "benign_malignant|diagnosis_1", "age_approx", "sex"]
OPTIONAL = ["patient_id", "lesion_id", "image_type", "licence|license|copyright_license"]
OPTIONAL += ["site|anatom_site_general|anatom_site_general_challenge|anatom_site_1"]
MALIGNANT: dict[str, bool | None] = TRUTH | dict.fromkeys(
    ("indeterminate", "indeterminate/benign", "indeterminate/malignant"), None
)
IMAGE_TYPE = MODALITY | dict.fromkeys(("tbp tile: close-up", "tbp tile: overview", "rcm: macroscopic"), None)


class SourceConfig(TableConfig):
    """Where the table and the images lie."""

    extension: str | None = Field(".jpg", min_length=0)


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row."""
    diagnosis = cells.read("diagnosis", plain)
    return {
        "file": cells.text("image_id"),
        "source_id": cells.text("image_id"),
        "patient_id": cells.identity("patient_id", config.source),
        "lesion_id": cells.identity("lesion_id", config.source),
        "diagnosis": diagnosis,
        "entity": entity_of(diagnosis),  # the archive knows hundreds: null where no rule knows
        "malignant": cells.read("benign_malignant", MALIGNANT),
        "modality": cells.read("image_type", IMAGE_TYPE),
        "age": cells.read("age_approx", age),
        "sex": cells.read("sex", SEX),
        "site": cells.read("site", plain),
        "licence": cells.text("licence"),
    }


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    return read_table(open_table(config, REQUIRED, OPTIONAL), to_row, config)
