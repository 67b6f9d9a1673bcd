"""ISIC 2019 (HAM10000, BCN_20000 and MSK): dermoscopic, eight classes and unknown, CC BY-NC 4.0.

Published as ISIC_2019_Training_GroundTruth.csv (one column per class) beside ISIC_2019_Training_Metadata.csv. Copies of
the latter go round with columns `diagnosis`, `benign_malignant` and `target` added, in which carcinomas count as not
malignant: they are not read.
"""

from collections.abc import Mapping
from functools import partial

from pydantic import Field

from dermray.datasets import tables
from dermray.datasets.cells import SEX, Cells, age, plain
from dermray.datasets.labels import MALIGNANT, entity_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

CLASSES = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
REQUIRED = ["image", "age_approx", "anatom_site_general", "sex"]
OPTIONAL = ["lesion_id"]  # the test set has none


Labels = Mapping[str, Mapping[str, str]]  # image -> cells of its line in the ground truth


class SourceConfig(TableConfig):
    """Where the tables and the images lie."""

    table: str | None = "ISIC_2019_Training_Metadata.csv"
    labels: str | None = "ISIC_2019_Training_GroundTruth.csv"
    images: str | list[str] = "ISIC_2019_Training_Input"
    extension: str | None = Field(".jpg", min_length=0)


def to_row(cells: Cells, config: SourceConfig, labels: Labels | None) -> Row:
    """One image of the metadata with its line in the ground truth. AK holds HAM10000's akiec: of unknown label."""
    image = cells.text("image")
    diagnosis = None if labels is None or image is None else _class(cells, labels.get(image))
    entity = entity_of(diagnosis)
    return {
        "file": image,
        "source_id": image,
        "lesion_id": cells.identity("lesion_id", config.source),
        "diagnosis": diagnosis,
        "entity": entity,
        "malignant": True if diagnosis == "SCC" else MALIGNANT.get(entity or ""),
        "modality": "dermoscopic",
        "age": cells.read("age_approx", age),
        "sex": cells.read("sex", SEX),
        "site": cells.read("anatom_site_general", plain),
        "licence": "CC-BY-NC-4.0",
    }


def _class(cells: Cells, truth: Mapping[str, str] | None) -> str | None:
    """The class whose column holds the 1; None for UNK."""
    if truth is None:
        cells.doubt("image", "expected a line in the ground truth")
        return None
    cells.values |= truth
    chosen = cells.one_hot(CLASSES)
    return None if chosen == "UNK" else chosen


def read(config: SourceConfig) -> Reading:
    """All lines of the metadata; `labels: null` for a test set without ground truth."""
    metadata = open_table(config, REQUIRED, OPTIONAL)
    if config.labels is None:
        return read_table(metadata, partial(to_row, labels=None), config)
    truth = open_table(config, ["image", *CLASSES], name=config.labels)
    labels = tables.lookup(truth, "image")
    facts = {"labels": truth.facts() | tables.coverage(metadata, "image", labels)}
    return read_table(metadata, partial(to_row, labels=labels), config, facts)
