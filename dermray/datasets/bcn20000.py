"""BCN20000 (Hernandez-Perez et al. 2024, doi:10.1038/s41597-024-03387-w): dermoscopic, Barcelona, CC BY-NC 4.0.

18,946 images of lesions in places and of kinds that other sets leave out (nails, mucosa, large, hypopigmented).
Published as bcn_20k_train.csv and bcn_20k_test.csv (bcn_filename, age_approx, anatom_site_general, diagnosis,
lesion_id, capture_date, sex, split) beside two folders of JPEG images. The column `split` is kept.

It lacks patients and, in the test set, the diagnoses: eight classes and a ninth, OOD, which nobody may see; give
`labels: false` for a table without them. Its training images are those of ISIC 2019 under other names: near duplicates
keep the two together. The licence is that of the authors' repository (imatge-upc/BCN20000) and of the archive's copy;
look at figshare's page before you rely on it. From https://doi.org/10.6084/m9.figshare.24140028; the archive's copy
(`isic image download --collections 249`) has the archive's words: read it with `isic_archive`.
"""

from pydantic import Field

from dermray.datasets.cells import SEX, SPLIT, Cells, age, plain
from dermray.datasets.joined import Opened
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

REQUIRED = ["bcn_filename", "lesion_id", "age_approx", "sex", "anatom_site_general"]
OPTIONAL = ["split", "diagnosis"]


class SourceConfig(TableConfig):
    """Where the table and the images lie."""

    table: str | None = "bcn_20k_train.csv"
    images: str | list[str] = "bcn_20k_train"
    labels: bool = Field(True, description="false for the test set, whose table may have no diagnoses")


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row."""
    return {
        "file": cells.text("bcn_filename"),
        "source_id": cells.text("bcn_filename"),
        "lesion_id": cells.identity("lesion_id", config.source),
        **label(cells, "diagnosis", labels_of(config.vocabulary, config.more_labels)),
        "modality": "dermoscopic",
        "age": cells.read("age_approx", age),
        "sex": cells.read("sex", SEX),
        "site": cells.read("anatom_site_general", plain),
        "licence": "CC-BY-NC-4.0",
        "split": cells.read("split", SPLIT),
    }


def opened(config: SourceConfig) -> Opened:
    """The table, read through once."""
    return Opened(open_table(config, REQUIRED + ["diagnosis"] * config.labels, OPTIONAL), to_row, {})


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    found, make, facts = opened(config)
    return read_table(found, make, config, facts)
