"""Any images: a folder per class, or a CSV with a mapping from its columns to ours."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from dermray import storage
from dermray.config import Config
from dermray.datasets import class_folders
from dermray.datasets.sources import SEX, number, read_table, word
from dermray.records import ALLOWED, skin_tone_of

if TYPE_CHECKING:
    from ray.data import Dataset

MAPPABLE = [
    "source_id",
    "patient_id",
    "lesion_id",
    "diagnosis",
    "entity",
    "malignant",
    "modality",
    "fitzpatrick",
    "age",
    "sex",
    "site",
    "licence",
]
TRUE_WORDS, FALSE_WORDS = ("1", "true", "yes", "malignant"), ("0", "false", "no", "benign")


class SourceConfig(Config):
    """Class folders `path/<class>/x.jpg` (or `path/train/<class>/x.jpg`, `path/<class>/train/x.jpg`: split folders are
    kept as the official split), or with `table` a CSV of image paths relative to `path`."""

    path: str
    name: str = "folder"
    table: str | None = None
    image_column: str = "image"
    columns: dict[str, str] = Field({}, description="our column -> the table's column")
    malignant_classes: list[str] | None = Field(None, description="class folders or diagnoses that are malignant")
    modality: str | None = None
    licence: str | None = None

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(set(columns) - set(MAPPABLE)):
            raise ValueError(f"{unknown} are no columns of ours; expected keys out of {MAPPABLE}")
        return columns


def read(config: SourceConfig) -> "Dataset":
    """All images.

    Raises:
        FileNotFoundError: no such folder or table.
        ValueError: no image found.
    """
    config = config.model_copy(update={"path": storage.normalise(config.path)})
    if not storage.exists(config.path):
        raise FileNotFoundError(f"{config.path}: no such folder; check the source's path")
    if config.table is not None:
        required = [config.image_column, *config.columns.values()]
        return read_table(storage.join(config.path, config.table), lambda raw: to_row(raw, config), required)
    rows, _ = class_folders.read(config.path, lambda row: of_class_folder(row, config))
    return rows


def to_row(raw: dict[str, Any], config: SourceConfig) -> dict[str, Any]:
    """One line of the table as a row.

    Raises:
        ValueError: a value that the column does not allow, with line and column.
    """
    row: dict[str, Any] = {name: raw[column] for name, column in config.columns.items()}
    image = raw[config.image_column] or ""
    row |= {
        "uri": storage.join(config.path, image),
        "source": config.name,
        "source_id": row.get("source_id") or image,
        "age": number(row.get("age")),
        "sex": word(row.get("sex"), SEX),
        "malignant": _truth(row.get("malignant"), image),
        "modality": row.get("modality") or config.modality,
        "licence": row.get("licence") or config.licence,
    }
    fitzpatrick = number(row.get("fitzpatrick"))
    if fitzpatrick is not None and fitzpatrick not in range(1, 7):
        raise ValueError(f"{image}: fitzpatrick={fitzpatrick}: expected 1 to 6 or nothing")
    row["fitzpatrick"] = None if fitzpatrick is None else int(fitzpatrick)
    if row["fitzpatrick"]:
        row |= {"skin_tone": skin_tone_of(row["fitzpatrick"]), "skin_tone_source": "metadata"}
    for name in ("patient_id", "lesion_id"):
        row[name] = f"{config.name}/{row[name]}" if row.get(name) else None
    return _with_class(row, config)


def _with_class(row: dict[str, Any], config: SourceConfig) -> dict[str, Any]:
    diagnosis = row.get("diagnosis")
    if row.get("malignant") is None and config.malignant_classes is not None and diagnosis is not None:
        row["malignant"] = diagnosis in config.malignant_classes
    if row.get("entity") is None and diagnosis is not None:
        row["entity"] = diagnosis if diagnosis in ALLOWED["entity"] else "other"
    return row


def _truth(text: str | None, image: str) -> bool | None:
    if text is None:
        return None
    if text.strip().lower() in TRUE_WORDS:
        return True
    if text.strip().lower() in FALSE_WORDS:
        return False
    raise ValueError(f"{image}: malignant={text!r}: expected one of {TRUE_WORDS + FALSE_WORDS}")


def of_class_folder(row: dict[str, Any], config: SourceConfig) -> dict[str, Any]:
    """What a file's place says, completed by what the config says of all."""
    told = {"source": config.name, "modality": config.modality, "licence": config.licence}
    return _with_class(row | told, config)
