"""ISIC 2017 part 3 (Codella et al. 2018, arXiv:1710.05006): melanoma, seborrheic keratosis or nevus, dermoscopic, CC0.

Published as ISIC-2017_{Training,Validation,Test_v2}_Part3_GroundTruth.csv (image_id, melanoma, seborrheic_keratosis),
each beside a folder ISIC-2017_*_Data of JPEG images, in which ISIC-2017_*_Data_metadata.csv (image_id, age_approximate,
sex) lies: 2000, 150 and 600 images, all three splits official. A 0 in both columns is a nevus: "the remainder as benign
nevi".

It lacks patients, lesions and sites. The folders hold a `_superpixels.png` for every image: they are not read. Its
images are of the archive: most are in ISIC 2019 too. From https://challenge.isic-archive.com/data/#2017.
"""

from functools import partial

from pydantic import Field

from dermray.datasets.cells import SEX, TRUTH, Cells, age
from dermray.datasets.joined import Lines, Opened, beside, look_up
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

CLASSES = ["melanoma", "seborrheic_keratosis"]


class SourceConfig(TableConfig):
    """Where the tables and the images lie."""

    table: str | None = "ISIC-2017_Training_Part3_GroundTruth.csv"
    images: str | list[str] = "ISIC-2017_Training_Data"
    metadata: str | None = Field(
        "ISIC-2017_Training_Data/ISIC-2017_Training_Data_metadata.csv", description="ages and sexes; null for none"
    )
    extension: str | None = Field(".jpg", min_length=0)


def to_row(cells: Cells, config: SourceConfig, people: Lines | None) -> Row:
    """One line of the ground truth with its line in the metadata."""
    if people is not None:
        look_up(cells, "image_id", people, "metadata")
    cells.values["class"] = _class(cells) or ""
    return {
        "file": cells.text("image_id"),
        "source_id": cells.text("image_id"),
        **label(cells, "class", labels_of(config.vocabulary, config.more_labels)),
        "modality": "dermoscopic",
        "age": cells.read("age_approximate", age),
        "sex": cells.read("sex", SEX),
        "licence": "CC0-1.0",
    }


def _class(cells: Cells) -> str | None:
    """The class whose column holds the 1, or nevus where both hold 0."""
    said = {name: cells.read(name, TRUTH) for name in CLASSES}
    if all(value is False for value in said.values()):
        return "nevus"
    if all(said.values()):
        cells.doubt(CLASSES[1], f"expected a single 1 in a row, and {CLASSES[0]} holds one too")
    return None if None in said.values() or all(said.values()) else max(said, key=lambda name: bool(said[name]))


def opened(config: SourceConfig) -> Opened:
    """The tables, read through once."""
    truth = open_table(config, ["image_id", *CLASSES])
    if config.metadata is None:
        return Opened(truth, partial(to_row, people=None), {})
    people, facts = beside(config, truth, config.metadata, "image_id", ["age_approximate", "sex"])
    return Opened(truth, partial(to_row, people=people), {"metadata": facts})


def read(config: SourceConfig) -> Reading:
    """All lines of the ground truth."""
    found, make, facts = opened(config)
    return read_table(found, make, config, facts)
