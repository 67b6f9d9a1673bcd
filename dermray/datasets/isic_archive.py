"""The ISIC archive's own download: dermoscopic and clinical images, a licence for each (CC0, CC BY or CC BY-NC).

`isic image download FOLDER` (the archive's isic-cli, or its zip of a collection) writes metadata.csv beside the images:
isic_id, attribution, copyright_license, then whatever fields occur, among them patient_id, lesion_id, image_type and
diagnosis_1 to diagnosis_5, which say the same ever more finely. `diagnosis` of a row is the finest; `malignant` is
diagnosis_1 (Benign, Malignant, or Indeterminate, which is unknown). Exports from before 2024 have diagnosis and
benign_malignant in their place: they are read too.

Before 2022 the archive gave a JSON file for each image: Descriptions/ISIC_0000000 beside Images/ISIC_0000000.jpeg as
GalAvineri/ISIC-Archive-Downloader writes them, or ISIC-images/UDA-1/ISIC_0000000.json beside its image in the archive's
own zip. For these name their folder in `descriptions`.

It lacks a split, and often diagnosis, age or patient. Images that it calls synthetic are rejected. From
https://api.isic-archive.com, or all at once: https://registry.opendata.aws/isic-archive/.
"""

from pydantic import Field

from dermray.datasets.cells import MODALITY, SEX, TRUTH, Cells, age, fitzpatrick, plain
from dermray.datasets.isic_descriptions import read_descriptions
from dermray.datasets.joined import Opened
from dermray.datasets.labels.table import Labels, label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table
from dermray.records import AT

LEVELS = [f"diagnosis_{level}" for level in (5, 4, 3, 2, 1)]
REQUIRED = ["image_id|isic_id|image_name"]
OPTIONAL = [*LEVELS, "diagnosis", "benign_malignant", "patient_id", "lesion_id", "image_type", "image_manipulation"]
OPTIONAL += ["age_approx", "sex", "fitzpatrick_skin_type", "licence|license|copyright_license"]
OPTIONAL += ["site|anatom_site_general|anatom_site_general_challenge|anatom_site_1"]
MALIGNANT: dict[str, bool | None] = TRUTH | dict.fromkeys(
    ("indeterminate", "indeterminate/benign", "indeterminate/malignant"), None
)
# Crops of total body photographs and confocal images are neither dermoscopic nor clinical photographs.
IMAGE_TYPE = MODALITY | dict.fromkeys(
    ("tbp tile: close-up", "tbp tile: overview", "rcm: macroscopic", "rcm: tile", "rcm: mosaic"), None
)


class SourceConfig(TableConfig):
    """Where the table and the images lie."""

    extension: str | None = Field(".jpg", min_length=0)
    descriptions: str | None = Field(None, description="folder of JSON files, one per image, in the table's place")

    @property
    def vocabulary(self) -> str:
        """The archive's, also where a collection of it has a source of its own."""
        return "isic_archive"


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One image of the archive as a row."""
    row = {
        "file": cells.text("image_id"),
        "source_id": cells.text("image_id"),
        "patient_id": cells.identity("patient_id", config.source),
        "lesion_id": cells.identity("lesion_id", config.source),
        **label_of(cells, [*LEVELS, "diagnosis"], labels_of(config.vocabulary, config.more_labels)),
        "modality": cells.read("image_type", IMAGE_TYPE),
        "fitzpatrick": cells.read("fitzpatrick_skin_type", fitzpatrick),
        "age": cells.read("age_approx", age),
        "sex": cells.read("sex", SEX),
        "site": cells.read("site", plain),
        "licence": cells.text("licence"),
    }
    if plain(cells.text("image_manipulation") or "") == "synthetic":
        row |= {"status": "rejected", "reason": f"synthetic image, by the archive{AT}{cells.place}"}
    return row


def label_of(cells: Cells, levels: list[str], known: Labels) -> Row:
    """By the first of `levels` that says something; malignant by the archive's own column where that does."""
    said = label(cells, next((name for name in levels if cells.text(name) is not None), levels[-1]), known)
    tops = ("diagnosis_1", "iddx_1", "benign_malignant")
    if (top := next((name for name in tops if cells.text(name) is not None), None)) is None:
        return said
    given = cells.read(top, MALIGNANT)
    if None not in (given, said["malignant"]) and given != said["malignant"]:
        cells.doubt(top, "expected what the diagnosis is by the archive's tree")
        given = None
    return said | {"malignant": given}


def opened(config: SourceConfig) -> Opened:
    """The table, read through once.

    Raises:
        ValueError: also where no column says what an image shows.
    """
    found = open_table(config, REQUIRED, OPTIONAL)
    if not {*LEVELS, "diagnosis", "benign_malignant"} & set(found.table.positions):
        raise ValueError(
            f"{found.table.path}: no column says what an image shows; expected diagnosis_1 (or, in older exports, "
            f"diagnosis or benign_malignant); the table has {list(found.table.columns)}"
        )
    return Opened(found, to_row, {})


def read(config: SourceConfig) -> Reading:
    """All lines of the table, or all JSON files of `descriptions`."""
    if config.descriptions is not None:
        return read_descriptions(config, config.descriptions, to_row)
    found, make, facts = opened(config)
    return read_table(found, make, config, facts)
