"""ISIC Archive downloads, flattened to a table with one line per image: dermoscopic and clinical, licence per image."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from dermray import storage
from dermray.config import Config
from dermray.datasets.sources import SEX, number, read_table, word

if TYPE_CHECKING:
    from ray.data import Dataset

ENTITY = {
    "melanoma": "mel",
    "nevus": "nv",
    "basal cell carcinoma": "bcc",
    "actinic keratosis": "akiec",
    "dermatofibroma": "df",
    "seborrheic keratosis": "bkl",
    "solar lentigo": "bkl",
    "vascular lesion": "vasc",
}
MALIGNANT = {"malignant": True, "benign": False}
MODALITY = {"dermoscopic": "dermoscopic", "clinical": "clinical", "overview": "clinical"}


class SourceConfig(Config):
    """Where the table and the images lie."""

    path: str
    table: str = "metadata.csv"
    images: str = "images"
    extension: str = Field(".jpg", min_length=0)


def to_row(raw: dict[str, Any], config: SourceConfig) -> dict[str, Any]:
    """One line of the table as a row."""
    diagnosis = word(raw["diagnosis"])
    return {
        "uri": storage.join(config.path, config.images, raw["image_id"] + config.extension),
        "source": "isic_archive",
        "source_id": raw["image_id"],
        "diagnosis": diagnosis,
        "entity": None if diagnosis is None else ENTITY.get(diagnosis, "other"),
        "malignant": MALIGNANT.get(raw["benign_malignant"] or ""),
        "modality": MODALITY.get(raw.get("image_type") or ""),
        "age": number(raw["age_approx"]),
        "sex": word(raw["sex"], SEX),
        "licence": raw.get("licence"),
    }


def read(config: SourceConfig) -> "Dataset":
    """All lines of the table."""
    config = config.model_copy(update={"path": storage.normalise(config.path)})
    required = ["image_id", "diagnosis", "benign_malignant", "age_approx", "sex"]
    return read_table(storage.join(config.path, config.table), lambda raw: to_row(raw, config), required)
