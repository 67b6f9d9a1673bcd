"""DDI, Diverse Dermatology Images (Daneshjou et al. 2022): clinical, biopsied, skin tone by group, for research only.

Published as ddi_metadata.csv beside the images. It names no patients.
"""

from dermray.datasets.cells import SKIN_TONE, TRUTH, Cells
from dermray.datasets.labels import entity_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

REQUIRED = ["DDI_file", "skin_tone", "malignant", "disease"]


class SourceConfig(TableConfig):
    """Where the table and the images lie."""

    table: str | None = "ddi_metadata.csv"
    images: str | list[str] = "."


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row. skin_tone is 12, 34 or 56: Fitzpatrick I-II, III-IV, V-VI."""
    diagnosis = cells.text("disease")
    return {
        "file": cells.text("DDI_file"),
        "source_id": cells.text("DDI_file"),
        "diagnosis": diagnosis,
        "entity": entity_of(diagnosis),  # of its 78 diseases many are none of the seven: null where no rule knows
        "malignant": cells.read("malignant", TRUTH),
        "modality": "clinical",
        "skin_tone": cells.read("skin_tone", SKIN_TONE),
        "licence": "LicenseRef-DDI-research-use",
    }


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    return read_table(open_table(config, REQUIRED), to_row, config)
