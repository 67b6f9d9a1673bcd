"""DDI, Diverse Dermatology Images (Daneshjou et al. 2022, doi:10.1126/sciadv.abq6147): biopsied, by skin tone.

656 clinical photographs of 570 patients at Stanford, 78 diseases; for research only, not to be handed on. Published as
ddi_metadata.csv (an unnamed number, DDI_ID, DDI_file, skin_tone, malignant, disease) beside the PNG images; the
authors' own code (DDI-Dataset/DDI-Code) wants these moved to a folder: then `images: images`. skin_tone is 12, 34 or
56: Fitzpatrick I-II, III-IV, V-VI. That code knows `malignant` as `malignancy(malig=1)` too.

It lacks patients, ages, sexes, sites and a split. From https://ddi-dataset.github.io (Stanford AIMI, with an account).
"""

from dermray.datasets.cells import SKIN_TONE, TRUTH, Cells
from dermray.datasets.joined import Opened
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

REQUIRED = ["DDI_file", "skin_tone", "malignant|malignancy(malig=1)", "disease"]


class SourceConfig(TableConfig):
    """Where the table and the images lie."""

    table: str | None = "ddi_metadata.csv"
    images: str | list[str] = "."


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row."""
    return {
        "file": cells.text("DDI_file"),
        "source_id": cells.text("DDI_file"),
        **_label(cells, config),
        "modality": "clinical",
        "skin_tone": cells.read("skin_tone", SKIN_TONE),
        "licence": "LicenseRef-DDI-research-use",
    }


def _label(cells: Cells, config: SourceConfig) -> Row:
    """Entity by the table of labels, malignant by its own column, null where the two contradict each other."""
    said = label(cells, "disease", labels_of(config.vocabulary, config.more_labels))
    by_disease, biopsy = said["malignant"], cells.read("malignant", TRUTH)
    if None not in (by_disease, biopsy) and by_disease != biopsy:
        cells.doubt("malignant", f"expected {'malignant' if by_disease else 'benign'} for {said['diagnosis']}")
        biopsy = None
    return said | {"malignant": None if "status" in said else biopsy}


def opened(config: SourceConfig) -> Opened:
    """The table, read through once."""
    return Opened(open_table(config, REQUIRED), to_row, {})


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    found, make, facts = opened(config)
    return read_table(found, make, config, facts)
