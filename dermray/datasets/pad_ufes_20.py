"""PAD-UFES-20 (Pacheco et al. 2020): clinical smartphone photographs with patients and Fitzpatrick types, CC BY 4.0.

Published as metadata.csv beside the folders imgs_part_1, imgs_part_2 and imgs_part_3.
"""

from dermray.datasets.cells import SEX, Cells, age, fitzpatrick, plain
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

REQUIRED = ["img_id", "patient_id", "lesion_id", "diagnostic", "fitspatrick|fitzpatrick", "age", "gender", "region"]


class SourceConfig(TableConfig):
    """Where the table and the images lie; the table's names end in .png."""


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row. Fitzpatrick comes as 1.0 to 6.0, and 0 where nobody said."""
    # 250 of the published lesion ids stand for lesions of two patients each
    patient, lesion = cells.identity("patient_id", config.source), cells.text("lesion_id")
    return {
        "file": cells.text("img_id"),
        "source_id": cells.text("img_id"),
        "patient_id": patient,
        "lesion_id": None if None in (patient, lesion) else f"{patient}/{lesion}",
        **label(cells, "diagnostic", labels_of(config.source, config.more_labels)),
        "modality": "clinical",
        "fitzpatrick": cells.read("fitspatrick", fitzpatrick, missing=["0", "0.0"]),
        "age": cells.read("age", age),
        "sex": cells.read("gender", SEX),
        "site": cells.read("region", plain),
        "licence": "CC-BY-4.0",
    }


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    return read_table(open_table(config, REQUIRED), to_row, config)
