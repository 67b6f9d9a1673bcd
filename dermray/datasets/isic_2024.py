"""ISIC 2024, SLICE-3D (Kurtansky et al. 2024, doi:10.1038/s41597-024-03743-w): crops of 3D total body photographs.

401,059 crops of 15 mm, 393 of them malignant, of 1,042 patients; CC BY-NC 4.0, half of them CC BY (said per image).
Published at Kaggle (isic-2024-challenge) as train-metadata.csv beside train-image.hdf5, which holds the JPEG bytes of
each image under its isic_id, and beside the same images as files, train-image/image/*.jpg. The HDF5 file is read in
place (`pip install 'dermray[hdf5]'`); `hdf5: null` reads the files. iddx_1 to iddx_5 are the archive's diagnosis_1 to
5, and `malignant` is iddx_1: `target` is 0 also for the 114 that it calls indeterminate, which are unknown here.
399,991 are "Benign" and no more: nobody took them out. test-metadata.csv and test-image.hdf5 have no labels (`labels:
false`).

It lacks lesions for all that no pathologist saw, skin tones, and a public test set; the tbp_lv_* columns (measurements
by the camera's software) are not read. Crops are neither dermoscopic nor clinical photographs: `modality` is null. From
https://www.kaggle.com/competitions/isic-2024-challenge, or as JPEG files and tables of the archive's form, which
`isic_archive` reads: https://api.isic-archive.com/collections/390/.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from pydantic import Field

from dermray import storage
from dermray.datasets import hdf5
from dermray.datasets.cells import SEX, TRUTH, Cells, age, plain
from dermray.datasets.isic_archive import IMAGE_TYPE, label_of
from dermray.datasets.joined import Opened
from dermray.datasets.labels.table import labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

LEVELS = [f"iddx_{level}" for level in (5, 4, 3, 2, 1)]
REQUIRED = ["isic_id", "patient_id", "age_approx", "sex", "anatom_site_general"]
LABELS = ["target", *LEVELS]
OPTIONAL = ["image_type", "copyright_license", "lesion_id"]


class SourceConfig(TableConfig):
    """Where the table and the images lie."""

    table: str | None = "train-metadata.csv"
    hdf5: str | None = Field("train-image.hdf5", description="file of images; null for those in the folder `images`")
    images: str | list[str] = "train-image/image"
    extension: str | None = Field(".jpg", min_length=0)
    labels: bool = Field(True, description="false for a test set, whose table has none")

    @property
    def vocabulary(self) -> str:
        """The archive's."""
        return "isic_archive"


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row."""
    return {
        "file": cells.text("isic_id"),
        "source_id": cells.text("isic_id"),
        "patient_id": cells.identity("patient_id", config.source),
        "lesion_id": cells.identity("lesion_id", config.source),
        **_label(cells, config),
        "modality": cells.read("image_type", IMAGE_TYPE),
        "age": cells.read("age_approx", age),
        "sex": cells.read("sex", SEX),
        "site": cells.read("anatom_site_general", plain),
        "licence": cells.text("copyright_license") or "CC-BY-NC-4.0",
    }


def _label(cells: Cells, config: SourceConfig) -> Row:
    """By iddx_1 to iddx_5; a target that contradicts them makes the label unknown."""
    said = label_of(cells, LEVELS, labels_of(config.vocabulary, config.more_labels))
    target = cells.read("target", TRUTH)
    if None not in (target, said["malignant"]) and target != said["malignant"]:
        cells.doubt("target", "expected what iddx_1 says")
        return said | {"malignant": None}
    return said


def opened(config: SourceConfig) -> Opened:
    """The table, read through once; the images are counted.

    Raises:
        ImportError: h5py is not installed. FileNotFoundError, ValueError: what is there is no such table or file.
    """
    facts = {}
    if config.hdf5 is not None:
        facts["hdf5"] = {"path": config.located(config.hdf5), "images": hdf5.count(config.located(config.hdf5))}
    return Opened(open_table(config, REQUIRED + LABELS * config.labels, OPTIONAL), to_row, facts)


def read(config: SourceConfig) -> Reading:
    """All lines of the table."""
    found, make, facts = opened(config)
    reading = read_table(found, make, config, facts)
    if config.hdf5 is None:
        return reading
    uri = config.located(config.hdf5)
    version = f"{reading.version} {storage.version(uri)}"
    return reading._replace(rows=partial(_with_images, rows=reading.rows, uri=uri), version=version)


def _with_images(places: Any, rows: Callable[[Any], Iterable[Any]], uri: str) -> Iterator[Any]:
    for table in rows(places):
        yield hdf5.with_images(table, uri)
