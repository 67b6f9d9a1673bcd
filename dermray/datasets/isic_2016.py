"""ISIC 2016 task 3 (Gutman et al. 2016, arXiv:1605.01397): melanoma or not, dermoscopic, CC0.

Published as ISBI2016_ISIC_Part3_Training_GroundTruth.csv and ISBI2016_ISIC_Part3_Test_GroundTruth.csv, both without a
header (name, label), each beside a folder of JPEG images: 900 to train (173 malignant), 379 to test (75). The training
set says benign or malignant, the test set 0.0 or 1.0; malignant is melanoma.

It lacks patients, lesions, ages, sites, and any diagnosis of what is benign. It has no validation set. Its images are
of the archive: most are in ISIC 2017 and 2019 too. Folders of task 1 hold masks (`_Segmentation.png`): they are not
read. From https://challenge.isic-archive.com/data/#2016.
"""

from pydantic import Field

from dermray.datasets.cells import Cells
from dermray.datasets.joined import Opened
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

COLUMNS = ["image", "label"]  # that the table does not name


class SourceConfig(TableConfig):
    """Where the table and the images lie."""

    table: str | None = "ISBI2016_ISIC_Part3_Training_GroundTruth.csv"
    images: str | list[str] = "ISBI2016_ISIC_Part3_Training_Data"
    extension: str | None = Field(".jpg", min_length=0)


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row."""
    return {
        "file": cells.text("image"),
        "source_id": cells.text("image"),
        **label(cells, "label", labels_of(config.vocabulary, config.more_labels)),
        "modality": "dermoscopic",
        "licence": "CC0-1.0",
    }


def opened(config: SourceConfig) -> Opened:
    """The table, read through once."""
    return Opened(open_table(config, COLUMNS, columns=COLUMNS), to_row, {})


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    found, make, facts = opened(config)
    return read_table(found, make, config, facts)
