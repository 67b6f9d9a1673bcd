"""HAM10000 (Tschandl et al. 2018) and its test set, ISIC 2018 task 3: dermoscopic, seven entities, CC BY-NC 4.0.

Published as HAM10000_metadata.csv beside the folders HAM10000_images_part_1 and _part_2; the test set as
ISIC2018_Task3_Test_GroundTruth.csv beside one folder.
"""

from pydantic import Field

from dermray.datasets.cells import SEX, Cells, age, plain
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

REQUIRED = ["lesion_id", "image_id", "dx", "age", "sex", "localization"]


class SourceConfig(TableConfig):
    """Where the table and the images lie."""

    extension: str | None = Field(".jpg", min_length=0)


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row."""
    return {
        "file": cells.text("image_id"),
        "source_id": cells.text("image_id"),
        "lesion_id": cells.identity("lesion_id", config.source),
        **label(cells, "dx", labels_of(config.source, config.more_labels)),
        "modality": "dermoscopic",
        "age": cells.read("age", age),
        "sex": cells.read("sex", SEX),
        "site": cells.read("localization", plain),
        "licence": "CC-BY-NC-4.0",
    }


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    return read_table(open_table(config, REQUIRED), to_row, config)
