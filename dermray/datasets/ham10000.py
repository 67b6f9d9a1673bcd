"""HAM10000 (Tschandl et al. 2018): dermoscopic, seven entities, CC BY-NC 4.0. Table: HAM10000_metadata.csv."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from dermray import storage
from dermray.config import Config
from dermray.datasets.sources import SEX, number, read_table, word
from dermray.records import MALIGNANT_ENTITIES

if TYPE_CHECKING:
    from ray.data import Dataset


class SourceConfig(Config):
    """Where the table and the images lie."""

    path: str
    table: str = "metadata.csv"
    images: str = "images"
    extension: str = Field(".jpg", min_length=0)


def to_row(raw: dict[str, Any], config: SourceConfig) -> dict[str, Any]:
    """One line of the table as a row. akiec mixes in-situ carcinoma with its precursor: its label is unknown."""
    entity = raw["dx"]
    return {
        "uri": storage.join(config.path, config.images, raw["image_id"] + config.extension),
        "source": "ham10000",
        "source_id": raw["image_id"],
        "lesion_id": f"ham10000/{raw['lesion_id']}",
        "diagnosis": entity,
        "entity": entity,
        "malignant": None if entity == "akiec" else entity in MALIGNANT_ENTITIES,
        "modality": "dermoscopic",
        "age": number(raw["age"]),
        "sex": word(raw["sex"], SEX),
        "site": word(raw["localization"]),
        "licence": "CC-BY-NC-4.0",
    }


def read(config: SourceConfig) -> "Dataset":
    """All lines of the table."""
    config = config.model_copy(update={"path": storage.normalise(config.path)})
    required = ["lesion_id", "image_id", "dx", "age", "sex", "localization"]
    return read_table(storage.join(config.path, config.table), lambda raw: to_row(raw, config), required)
