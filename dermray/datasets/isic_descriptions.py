"""The ISIC archive's older form: a JSON file for each image, in the place of a table's line."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

from dermray import storage
from dermray.datasets.cells import Cells
from dermray.datasets.labels.table import labels_of
from dermray.datasets.listing import files
from dermray.datasets.sources import MOST_BLOCKS, Reading, Row, TableConfig, finished, image_roots, located
from dermray.datasets.tables import ROWS_PER_CHUNK
from dermray.records import AT

SUFFIXES = ("", ".json")  # the downloader writes none
FETCHES = 32  # files that a task reads at a time
ToRow = Callable[..., Row]


def read_descriptions(config: TableConfig, folder: str, to_row: ToRow) -> Reading:
    """A row for each JSON file in `folder` and below it. Its image has its name, below the folder of images.

    Raises:
        FileNotFoundError, ValueError: no such folder, or no JSON file in it.
    """
    place = config.located(folder)
    if not storage.exists(place):
        raise FileNotFoundError(f"{place}: no such folder; check the source's descriptions")
    if config.more_labels:
        labels_of(config.vocabulary, config.more_labels)
    names, others = listed(place)
    if not names:
        raise ValueError(f"{place}: expected JSON files, one per image; there are {others} other files")
    import ray.data

    shares = [{"names": names[i : i + ROWS_PER_CHUNK]} for i in range(0, len(names), ROWS_PER_CHUNK)]
    read = partial(_read, place=place, to_row=to_row, config=config)
    places = ray.data.from_items(shares, override_num_blocks=min(len(shares), MOST_BLOCKS))
    facts = {"path": place, "files": len(names), "other_files": others}
    labels = storage.version(config.more_labels) if config.more_labels else ""
    return Reading(places, read, {"descriptions": facts}, len(names), labels)


def listed(place: str) -> tuple[list[str], int]:
    """The files that may be descriptions, in order, and how many others lie there: images, licences, hidden files."""
    names, others = list[str](), 0
    for file in files(place):
        path = PurePosixPath(file.name)
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts):
            names.append(file.name)
        else:
            others += 1
    return sorted(names), others


def _read(shares: Any, place: str, to_row: ToRow, config: TableConfig) -> Iterator[Any]:
    import pyarrow as pa

    from dermray.records import IMAGES, conform

    names = chain.from_iterable(share["names"] for share in shares.to_pylist())
    found = list(rows(names, place, to_row, config))
    uris = [row.pop("uri", None) for row in found]
    yield conform(found, IMAGES).append_column("uri", pa.array(uris, pa.string()))


def rows(names: Any, place: str, to_row: ToRow, config: TableConfig) -> Iterator[Row]:
    """The rows of these files: each with the `uri` of its image, or with a status and reason."""
    roots = image_roots(config)
    with ThreadPoolExecutor(FETCHES) as pool:
        for name, said in pool.map(lambda name: (name, _said(storage.join(place, name))), names):
            stem = name.removesuffix(PurePosixPath(name).suffix)
            row: Row = {"source": config.source, "source_id": stem}
            if not isinstance(said, dict):
                yield row | {"status": "failed", "reason": f"description cannot be read: {said}{AT}{name}"}
                continue
            cells = Cells(flattened(said), name, config.missing)
            row |= to_row(cells, config=config) | {"file": stem, "source_id": stem}
            yield located(finished(row, cells, config), roots, config.extension)


def _said(uri: str) -> Any:
    """What a JSON file says, or what is wrong with it as text."""
    try:
        said = json.loads(storage.read_bytes(uri))
    except (OSError, ValueError) as error:
        return type(error).__name__
    return said if isinstance(said, dict) else f"expected an object, got a {type(said).__name__}"


def flattened(said: dict[str, Any]) -> dict[str, str | None]:
    """The cells that the archive's table has, out of one image's JSON, older (`meta`) or newer (`metadata`)."""
    meta = said.get("meta") or said.get("metadata") or {}
    dataset = said.get("dataset") or {}
    told = {
        "image_id": said.get("isic_id") or said.get("name"),
        "licence": said.get("copyright_license") or dataset.get("license"),
        **(meta.get("acquisition") or {}),
        **(meta.get("clinical") or {}),
    }
    told["site"] = told.get("anatom_site_general")
    return {name: None if value is None else str(value) for name, value in told.items()}
