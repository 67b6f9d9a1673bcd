"""ISIC 2018 task 3 (Codella et al. 2019, arXiv:1902.03368; training images: HAM10000): seven classes, CC BY-NC 4.0.

Published as ISIC2018_Task3_{Training,Validation,Test}_GroundTruth/ISIC2018_Task3_*_GroundTruth.csv (image and a column
per class), each beside a folder ISIC2018_Task3_*_Input of JPEG images: 10,015, 193 and 1,512 images, all three splits
official; ISIC2018_Task3_Training_LesionGroupings.csv (image, lesion_id, diagnosis_confirm_type) names the lesions of
the training set. `ham10000` reads the same training images with ages, sexes and sites.

It lacks patients, ages and sites, and the lesions of validation and test: near duplicates alone can show a lesion that
lies in two splits. One image of the test set is synthetic and stays out. Masks of tasks 1 and 2 (`_segmentation.png`,
`_attribute_*.png`) lie in other folders: they are not read. From https://challenge.isic-archive.com/data/#2018.
"""

from functools import partial

from pydantic import Field

from dermray.datasets.cells import Cells
from dermray.datasets.joined import Lines, Opened, beside, look_up
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table
from dermray.records import AT

CLASSES = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
SYNTHETIC = "ISIC_0035068"  # by the archive's image_manipulation; ImageMarkup/isic-challenge-scoring leaves it out too


class SourceConfig(TableConfig):
    """Where the tables and the images lie."""

    table: str | None = "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv"
    images: str | list[str] = "ISIC2018_Task3_Training_Input"
    lesions: str | None = Field(
        "ISIC2018_Task3_Training_LesionGroupings.csv", description="whose lesion an image shows; null for none"
    )
    extension: str | None = Field(".jpg", min_length=0)


def to_row(cells: Cells, config: SourceConfig, lesions: Lines | None) -> Row:
    """One line of the ground truth with its line in the lesion groupings."""
    if lesions is not None:
        look_up(cells, "image", lesions, "lesion groupings")
    cells.values["class"] = cells.one_hot(CLASSES) or ""
    row = {
        "file": cells.text("image"),
        "source_id": cells.text("image"),
        "lesion_id": cells.identity("lesion_id", config.source),
        **label(cells, "class", labels_of(config.vocabulary, config.more_labels)),
        "modality": "dermoscopic",
        "licence": "CC-BY-NC-4.0",
    }
    if row["source_id"] == SYNTHETIC:
        row |= {"status": "rejected", "reason": f"synthetic image, by the archive{AT}{cells.place}"}
    return row


def opened(config: SourceConfig) -> Opened:
    """The tables, read through once."""
    truth = open_table(config, ["image", *CLASSES])
    if config.lesions is None:
        return Opened(truth, partial(to_row, lesions=None), {})
    lesions, facts = beside(config, truth, config.lesions, "image", ["lesion_id"])
    return Opened(truth, partial(to_row, lesions=lesions), {"lesions": facts})


def read(config: SourceConfig) -> Reading:
    """All lines of the ground truth."""
    found, make, facts = opened(config)
    return read_table(found, make, config, facts)
