"""Fitzpatrick17k (Groh et al. 2021): clinical photographs of two atlases with Fitzpatrick types, CC BY-NC-SA 3.0.

Published as fitzpatrick17k.csv with the images' addresses; downloaded images are named by their MD5 sum. It names no
patients: near duplicates alone keep the photographs of one patient in one split.
"""

from pydantic import Field

from dermray.datasets.cells import Cells, fitzpatrick, plain
from dermray.datasets.labels import ENTITY
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

REQUIRED = ["md5hash", "fitzpatrick_scale|fitzpatrick", "label", "three_partition_label"]
OPTIONAL = ["qc"]
# As published, which counts actinic keratosis as malignant, unlike PAD-UFES-20.
MALIGNANT = {"malignant": True, "benign": False, "non-neoplastic": False}
# Tumours of its 114 labels that are none of HAM10000's seven.
OTHER = (
    "kaposi sarcoma", "mycosis fungoides", "becker nevus", "disseminated actinic porokeratosis", "epidermal nevus",
    "fordyce spots", "lymphangioma", "milia", "mucous cyst", "naevus comedonicus", "nevus sebaceous of jadassohn",
    "pilar cyst", "pilomatricoma", "porokeratosis actinic", "porokeratosis of mibelli", "port wine stain",
    "prurigo nodularis", "syringoma", "telangiectases",
)  # fmt: skip
ENTITIES = ENTITY | {"superficial spreading melanoma ssm": "mel"} | dict.fromkeys(OTHER, "other")


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
    malignant = None if wrong else cells.read("three_partition_label", MALIGNANT)
    return {
        "file": cells.text("md5hash"),
        "source_id": cells.text("md5hash"),
        "diagnosis": None if wrong else cells.text("label"),
        "entity": None if wrong else _entity(cells),
        "malignant": malignant,
        "modality": "clinical",
        "fitzpatrick": cells.read("fitzpatrick_scale", fitzpatrick, missing=["-1"]),
        "licence": "CC-BY-NC-SA-3.0",
    }


def _entity(cells: Cells) -> str | None:
    """What is no tumour is none of the seven."""
    if plain(cells.text("three_partition_label") or "") == "non-neoplastic":
        return "other"
    return cells.read("label", ENTITIES)


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    return read_table(open_table(config, REQUIRED, OPTIONAL), to_row, config)
