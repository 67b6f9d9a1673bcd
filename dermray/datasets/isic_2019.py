"""ISIC 2019 (HAM10000, BCN_20000 and MSK): dermoscopic, eight classes and unknown, CC BY-NC 4.0.

25,331 images to train: ISIC_2019_Training_GroundTruth.csv (one column per class) and ISIC_2019_Training_Metadata.csv
(image, age_approx, anatom_site_general, lesion_id, sex) beside ISIC_2019_Training_Input/*.jpg. 8,238 to test:
ISIC_2019_Test_GroundTruth.csv (2,047 are UNK, of no class of the training set: without a label here), its score_weight
and validation_weight not read, and ISIC_2019_Test_Metadata.csv beside ISIC_2019_Test_Input/*.jpg.

It lacks patients and, for 2,084 images to train and all to test, lesions. 2,074 images of MSK are shrunk and called
ISIC_0000001_downsampled, where other sets have ISIC_0000001 at full size: names do not join the two, near duplicates
do. All images are of HAM10000 (doi:10.1038/sdata.2018.161), BCN20000 (doi:10.1038/s41597-024-03387-w) or MSK
(arXiv:1710.05006), and many of ISIC 2016 and 2017 are among them. Copies of the metadata go round with columns
`diagnosis`, `benign_malignant` and `target` added, in which carcinomas count as not malignant: they are not read. From
https://challenge.isic-archive.com/data/#2019.
"""

from collections.abc import Mapping
from functools import partial

from pydantic import Field

from dermray.datasets import tables
from dermray.datasets.cells import SEX, Cells, age, plain
from dermray.datasets.joined import Opened
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

CLASSES = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
REQUIRED = ["image", "age_approx", "anatom_site_general", "sex"]
OPTIONAL = ["lesion_id"]  # the test set has none


Truth = Mapping[str, Mapping[str, str]]  # image -> cells of its line in the ground truth


class SourceConfig(TableConfig):
    """Where the tables and the images lie."""

    table: str | None = "ISIC_2019_Training_Metadata.csv"
    labels: str | None = "ISIC_2019_Training_GroundTruth.csv"
    images: str | list[str] = "ISIC_2019_Training_Input"
    extension: str | None = Field(".jpg", min_length=0)


def to_row(cells: Cells, config: SourceConfig, labels: Truth | None) -> Row:
    """One image of the metadata with its line in the ground truth."""
    image = cells.text("image")
    if labels is not None and image is not None:
        cells.values["class"] = _class(cells, labels.get(image)) or ""
    return {
        "file": image,
        "source_id": image,
        "lesion_id": cells.identity("lesion_id", config.source),
        **label(cells, "class", labels_of(config.source, config.more_labels)),
        "modality": "dermoscopic",
        "age": cells.read("age_approx", age),
        "sex": cells.read("sex", SEX),
        "site": cells.read("anatom_site_general", plain),
        "licence": "CC-BY-NC-4.0",
    }


def _class(cells: Cells, truth: Mapping[str, str] | None) -> str | None:
    """The class whose column holds the 1."""
    if truth is None:
        cells.doubt("image", "expected a line in the ground truth")
        return None
    cells.values |= truth
    return cells.one_hot(CLASSES)


def opened(config: SourceConfig) -> Opened:
    """The tables, read through once; `labels: null` for a test set without ground truth."""
    metadata = open_table(config, REQUIRED, OPTIONAL)
    if config.labels is None:
        return Opened(metadata, partial(to_row, labels=None), {})
    truth = open_table(config, ["image", *CLASSES], name=config.labels)
    labels = tables.lookup(truth, "image")
    facts = {"labels": truth.facts() | tables.coverage(metadata, "image", labels)}
    return Opened(metadata, partial(to_row, labels=labels), facts)


def read(config: SourceConfig) -> Reading:
    """All lines of the metadata."""
    found, make, facts = opened(config)
    return read_table(found, make, config, facts)
