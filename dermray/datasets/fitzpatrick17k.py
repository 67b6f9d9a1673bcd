"""Fitzpatrick17k (Groh et al. 2021): clinical photographs of two atlases with Fitzpatrick types, CC BY-NC-SA 3.0.

Published as fitzpatrick17k.csv with the images' addresses; downloaded images are named by their MD5 sum. It names no
patients: near duplicates alone keep the photographs of one patient in one split.
"""

from pydantic import Field

from dermray.datasets.cells import Cells, fitzpatrick, plain
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

REQUIRED = ["md5hash", "fitzpatrick_scale|fitzpatrick", "label", "three_partition_label"]
OPTIONAL = ["qc"]
PARTITION = {"malignant": True, "benign": False, "non-neoplastic": False}


class SourceConfig(TableConfig):
    """Where the table and the images lie."""

    table: str | None = "fitzpatrick17k.csv"
    extension: str | None = Field(".jpg", min_length=0)


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row. Its Fitzpatrick type is -1 where the annotators could not tell.

    A label that its own quality control calls wrong is unknown.
    """
    wrong = plain(cells.text("qc") or "") == "3 wrongly labelled"
    if wrong:
        cells.doubt("qc", "expected a label that quality control does not call wrong")
    return {
        "file": cells.text("md5hash"),
        "source_id": cells.text("md5hash"),
        **(dict.fromkeys(("diagnosis", "entity", "malignant")) if wrong else _label(cells, config)),
        "modality": "clinical",
        "fitzpatrick": cells.read("fitzpatrick_scale", fitzpatrick, missing=["-1"]),
        "licence": "CC-BY-NC-SA-3.0",
    }


def _label(cells: Cells, config: SourceConfig) -> Row:
    """By the table of labels, which agrees with the three-way partition of all published rows."""
    said = label(cells, "label", labels_of(config.source, config.more_labels))
    if cells.read("three_partition_label", PARTITION) not in (None, said["malignant"]):
        cells.doubt("three_partition_label", "expected what the label is by the published table")
        said["malignant"] = None
    return said


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    return read_table(open_table(config, REQUIRED, OPTIONAL), to_row, config)
