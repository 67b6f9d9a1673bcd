"""PAD-UFES-20 (Pacheco et al. 2020): clinical smartphone photographs with patients and Fitzpatrick types, CC BY 4.0."""

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from dermray import storage
from dermray.config import Config
from dermray.datasets.sources import SEX, number, read_table, word
from dermray.records import skin_tone_of

if TYPE_CHECKING:
    from ray.data import Dataset

# The data set's six: squamous cell carcinoma (with Bowen's disease) is none of HAM10000's seven.
ENTITY = {"ACK": "akiec", "BCC": "bcc", "MEL": "mel", "NEV": "nv", "SCC": "other", "SEK": "bkl"}
MALIGNANT = {"BCC", "MEL", "SCC"}


class SourceConfig(Config):
    """Where the table and the images lie."""

    path: str
    table: str = "metadata.csv"
    images: str = "images"
    extension: str | None = None  # of the files, where it differs from the table's .png


def to_row(raw: dict[str, Any], config: SourceConfig) -> dict[str, Any]:
    """One line of the table as a row. Fitzpatrick comes as 1.0 to 6.0, and 0 where nobody said."""
    fitzpatrick = int(number(raw["fitspatrick"]) or 0) or None
    name = PurePosixPath(raw["img_id"])
    file = str(name) if config.extension is None else name.stem + config.extension
    return {
        "uri": storage.join(config.path, config.images, file),
        "source": "pad_ufes_20",
        "source_id": raw["img_id"],
        "patient_id": f"pad_ufes_20/{raw['patient_id']}",
        "lesion_id": f"pad_ufes_20/{raw['patient_id']}/{raw['lesion_id']}",
        "diagnosis": raw["diagnostic"],
        "entity": ENTITY.get(raw["diagnostic"], "other"),
        "malignant": raw["diagnostic"] in MALIGNANT,
        "modality": "clinical",
        "fitzpatrick": fitzpatrick,
        "skin_tone": skin_tone_of(fitzpatrick),
        "skin_tone_source": "metadata" if fitzpatrick else None,
        "age": number(raw["age"]),
        "sex": word(raw["gender"], SEX),
        "site": word(raw["region"]),
        "licence": "CC-BY-4.0",
    }


def read(config: SourceConfig) -> "Dataset":
    """All lines of the table."""
    config = config.model_copy(update={"path": storage.normalise(config.path)})
    required = ["img_id", "patient_id", "lesion_id", "diagnostic", "fitspatrick", "age", "gender", "region"]
    return read_table(storage.join(config.path, config.table), lambda raw: to_row(raw, config), required)
