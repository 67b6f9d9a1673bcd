"""DERM12345 (Yilmaz et al. 2024, doi:10.1038/s41597-024-04104-3): dermoscopic, 40 subclasses, Tuerkiye, CC BY 4.0.

12,345 images of 1,627 patients: 9,860 to train, 2,485 to test. Published as derm12345_metadata_train.csv and _test.csv
(image_id, patient_id, label, super_class, malignancy, main_class_1, main_class_2, sub_class; Harvard Dataverse hands
them out as .tab) beside the folders derm12345_train_part_1, derm12345_train_part_2 and derm12345_test, each with a
folder per label.

It lacks lesions, ages, sexes, sites and skin tones. Where a patient is in both splits, ingest rejects the images to
train. From https://doi.org/10.7910/DVN/DAXZ7P; the archive's copy (doi:10.34970/705541) has the archive's words: read
it with `isic_archive`.
"""

from pydantic import Field

from dermray.datasets.cells import Cells
from dermray.datasets.joined import Opened
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

REQUIRED = ["image_id", "label"]
OPTIONAL = ["patient_id", "malignancy"]
MALIGNANCY: dict[str, bool | None] = {"benign": False, "malignant": True, "indeterminate": None}


class SourceConfig(TableConfig):
    """Where the table and the images lie."""

    table: str | None = "derm12345_metadata_train.csv"
    images: str | list[str] = ["derm12345_train_part_1", "derm12345_train_part_2"]
    extension: str | None = Field(".jpg", min_length=0)


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row. Its image lies in the folder of its label."""
    name, folder = cells.text("image_id"), cells.text("label")
    return {
        "file": f"{folder}/{name}" if name and folder else name,
        "source_id": name,
        "patient_id": cells.identity("patient_id", config.source),
        **_label(cells, config),
        "modality": "dermoscopic",
        "licence": "CC-BY-4.0",
    }


def _label(cells: Cells, config: SourceConfig) -> Row:
    """By the table of labels, which agrees with the column `malignancy` of all published rows."""
    said = label(cells, "label", labels_of(config.vocabulary, config.more_labels))
    if cells.text("malignancy") is not None:
        given = cells.read("malignancy", MALIGNANCY)
        if given != said["malignant"] and said["diagnosis"] is not None and "status" not in said:
            cells.doubt("malignancy", "expected what the label is by the published tree")
            said["malignant"] = None
    return said


def opened(config: SourceConfig) -> Opened:
    """The table, read through once."""
    return Opened(open_table(config, REQUIRED, OPTIONAL), to_row, {})


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    found, make, facts = opened(config)
    return read_table(found, make, config, facts)
