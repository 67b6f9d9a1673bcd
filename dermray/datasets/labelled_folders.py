"""Published data sets whose folders are their labels: class folders, read through a reviewed table of labels."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from pydantic import Field

from dermray import storage
from dermray.config import Config
from dermray.datasets import class_folders
from dermray.datasets.cells import Cells, is_missing, plain
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading


class FoldersConfig(Config):
    """The folder that holds a folder per class, or the publisher's train and test with these in them."""

    path: str
    more_labels: str | None = Field(None, description="YAML of labels that the source's own table does not know")
    split: Literal["train", "val", "test"] | None = Field(None, description="the split that its publisher gave it")
    licence: str | None = Field(None, description="that you were granted, in the place of the publisher's")

    @property
    def source(self) -> str:
        """What the rows' `source` says: the module's name."""
        return type(self).__module__.rpartition(".")[2]


def to_row(row: dict[str, Any], config: FoldersConfig, told: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """What a file's place says, `told` of all files beside it; rejected where the folder is no known label."""
    name = row["source_id"]
    row |= {"source": config.source, "source_id": prefix + name, **told, "split": row.get("split") or config.split}
    row |= {"licence": config.licence or told.get("licence")}
    if row.get("status") is not None:
        return row
    said = label(Cells({"folder": row["diagnosis"]}, name), "folder", labels_of(config.source, config.more_labels))
    return row | said


def read(config: FoldersConfig, told: Mapping[str, Any], prefix: str = "") -> Reading:
    """All files below the source's path.

    Raises:
        FileNotFoundError: no such folder. ValueError: no file, or folders from which class or split cannot be told.
    """
    path = storage.readable(config.path)
    if not storage.exists(path):
        raise FileNotFoundError(f"{path}: no such folder; check the source's path")
    known = labels_of(config.source, config.more_labels)  # or raises, before anything is listed
    files, classes, count = class_folders.read(path, partial(to_row, config=config, told=told, prefix=prefix))
    named = {name: number for name, number in classes.items() if not is_missing(name)}
    unknown = {name: number for name, number in named.items() if plain(name) not in known}
    return class_folders.reading(files, {"folders": dict(classes), "folders_of_unknown_label": unknown}, count)
