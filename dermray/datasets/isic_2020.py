"""ISIC 2020 (Rotemberg et al. 2021, SIIM-ISIC, doi:10.1038/s41597-021-00815-z): dermoscopic, patients, CC BY-NC 4.0.

33,126 images of 2,056 patients to train, 584 melanomas: ISIC_2020_Training_GroundTruth.csv (train.csv at Kaggle;
version 2, ISIC_2020_Training_GroundTruth_v2.csv, adds lesion_id) beside train/*.jpg. 10,982 to test:
ISIC_2020_Test_Metadata.csv (image, patient, ...; test.csv at Kaggle) beside ISIC_2020_Test_Input/*.jpg, whose labels
are not published (`labels: false`). The same images as DICOM are not read here.

It lacks a diagnosis for 27,124 benign images, whose word is "unknown", and carcinomas altogether. The 425 images of
ISIC_2020_Training_Duplicates.csv need no reading: both of a pair are of one patient, and patients are never split. From
https://challenge.isic-archive.com/data/#2020.
"""

from pydantic import Field

from dermray.datasets.cells import SEX, TRUTH, Cells, age, plain
from dermray.datasets.joined import Opened
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

LABELS = ["diagnosis", "target"]
IMAGES = ["image_name|image", "patient_id|patient", "sex", "age_approx"]
IMAGES += ["anatom_site_general_challenge|anatom_site_general"]
REQUIRED = [*IMAGES, *LABELS]
OPTIONAL = ["benign_malignant", "lesion_id"]


class SourceConfig(TableConfig):
    """Where the table and the images lie."""

    table: str | None = "ISIC_2020_Training_GroundTruth.csv"
    images: str | list[str] = "train"
    extension: str | None = Field(".jpg", min_length=0)
    labels: bool = Field(True, description="false for the test set, whose table has none")


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row. `target` is 1 for melanoma; the set holds no carcinoma, so 0 is benign."""
    return {
        "file": cells.text("image_name"),
        "source_id": cells.text("image_name"),
        "patient_id": cells.identity("patient_id", config.source),
        "lesion_id": cells.identity("lesion_id", config.source),
        **label(cells, "diagnosis", labels_of(config.source, config.more_labels)),
        "malignant": _malignant(cells),
        "modality": "dermoscopic",
        "age": cells.read("age_approx", age),
        "sex": cells.read("sex", SEX),
        "site": cells.read("anatom_site_general_challenge", plain),
        "licence": "CC-BY-NC-4.0",
    }


def _malignant(cells: Cells) -> bool | None:
    target, word = cells.read("target", TRUTH), cells.read("benign_malignant", TRUTH)
    if None not in (target, word) and target != word:
        cells.doubt("target", "expected the same as benign_malignant says")
        return None
    return word if target is None else target


def opened(config: SourceConfig) -> Opened:
    """The table, read through once."""
    return Opened(open_table(config, REQUIRED if config.labels else IMAGES, OPTIONAL), to_row, {})


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    found, make, facts = opened(config)
    return read_table(found, make, config, facts)
