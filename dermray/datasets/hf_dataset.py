"""A Hugging Face `datasets` directory, as `save_to_disk` writes it: Arrow files, read in place without `datasets`.

    dataset_dict.json, train/ and test/, each with state.json, dataset_info.json and data-00000-of-00001.arrow

A single data set is such a folder by itself. The image is the column of the feature Image (`image_column` names one of
several): its bytes, or where these are not there its path, as other machines may know it. A class label is its name. A
split called train, validation or test is that split. `columns`, `words` and classes are mapped as in `folder`. Images
in sequences are not read. Of a data set at the hub `load_dataset(...).save_to_disk(...)` makes such a directory.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from dermray import storage
from dermray.datasets.blocks import digest
from dermray.datasets.samples import Sample, SamplesConfig, Told, parts, require_columns
from dermray.datasets.sources import MOST_BLOCKS, Reading
from dermray.datasets.splits import official_name

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


class SourceConfig(SamplesConfig):
    """The directory that `save_to_disk` wrote."""

    name: str = "hf_dataset"
    image_column: str = "image"


class Part(NamedTuple):
    """An Arrow file of a split."""

    uri: str
    name: str  # as the rows' source_id begins
    split: str | None
    names: dict[str, list[str]]  # class label columns -> the names of their numbers


def arrow_files(path: str, image: str) -> list[Part]:
    """The Arrow files of all splits, in order.

    Args:
        image: the column of images.

    Raises:
        FileNotFoundError, ValueError: no such directory, not written by save_to_disk, or no such column of images.
    """
    if not storage.exists(path):
        raise FileNotFoundError(f"{path}: no such directory; check the source's path")
    splits = _json(storage.join(path, SPLITS)).get("splits", []) if _is_there(path, SPLITS) else [""]
    found = []
    for split in splits:
        place = storage.join(path, split) if split else path
        if not (_is_there(place, STATE) and _is_there(place, INFO)):
            raise ValueError(f"{place}: expected {STATE} and {INFO}, as datasets' save_to_disk writes them")
        state, features = _json(storage.join(place, STATE)), _json(storage.join(place, INFO)).get("features") or {}
        _require_image(features, image, place)
        names = {column: feature["names"] for column, feature in features.items() if _type(feature) == "ClassLabel"}
        official = official_name(split or state.get("_split") or "")
        for file in state["_data_files"]:
            name = "/".join(filter(None, (split, file["filename"])))
            found.append(Part(storage.join(place, file["filename"]), name, official, names))
    return found


def _is_there(place: str, name: str) -> bool:
    return storage.exists(storage.join(place, name))


def _json(uri: str) -> dict[str, Any]:
    try:
        said = json.loads(storage.read_bytes(uri))
    except ValueError as error:
        raise ValueError(f"{uri}: no JSON ({error}); save the data set again") from None
    return said if isinstance(said, dict) else {}


def _type(feature: Any) -> str | None:
    return feature.get("_type") if isinstance(feature, dict) else None


def _require_image(features: dict[str, Any], image: str, place: str) -> None:
    images = [column for column, feature in features.items() if _type(feature) == "Image"]
    if image not in images:
        raise ValueError(
            f"{place}: image_column={image!r}: expected a column of the feature Image, one of {images}; "
            f"the data set has {sorted(features)}"
        )


@contextmanager
def _opened(uri: str) -> Iterator[Any]:
    """A file in Arrow's stream format, which `datasets` writes: mapped into memory on local disk, else as a stream."""
    import pyarrow as pa

    system, path = storage.filesystem(uri)
    opened = pa.memory_map(path) if storage.is_local(uri) else system.open_input_file(path)
    with opened as file, pa.ipc.open_stream(file) as reader:
        yield reader


def samples(part: Part, config: SourceConfig, images: bool = True) -> Iterator[Sample]:
    """The rows of an Arrow file. Without `images` their bytes are left out.

    Raises:
        ValueError: no Arrow file, or it ends early.
    """
    import pyarrow as pa

    number = 0
    try:
        with _opened(part.uri) as reader:
            for batch in reader:
                names = [n for n in batch.schema.names if images or n != config.image_column]
                for row in batch.select(names).to_pylist():
                    yield _sample(row, f"{part.name}/{number}", part, config)
                    number += 1
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{part.uri}: no Arrow file of datasets, or not whole ({error}); save it again") from None


def _sample(row: dict[str, Any], name: str, part: Part, config: SourceConfig) -> Sample:
    picture = row.pop(config.image_column, None) or {}
    values = {column: _text(value, part.names.get(column)) for column, value in row.items()}
    image, path = picture.get("bytes"), picture.get("path")
    if image is None and not path:
        return Sample(name, name, values, split=part.split, status="failed", reason="row without an image")
    return Sample(name, name, values, image, None if image is not None else path, part.split)


def _text(value: Any, names: list[str] | None) -> str | None:
    """A cell; a class label's number by its name, where -1 means that it has none."""
    if value is None or isinstance(value, bytes):
        return None
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _told(part: Part, config: SourceConfig) -> tuple[Told, str]:
    told, version = Told(), storage.version(part.uri)
    for sample in samples(part, config, images=False):
        told.add(sample, config)
    return told, version


def _rows(batch: Any, found: list[Part], config: SourceConfig) -> Iterator[Any]:
    for row in batch.to_pylist():
        yield from parts(samples(found[row["part"]], config), config)


def read(config: SourceConfig) -> Reading:
    """All rows of all splits: a task has an Arrow file, whose other columns were read once before.

    Raises:
        FileNotFoundError, ValueError: not a directory of save_to_disk, or a column, word or class that occurs nowhere.
    """
    import ray
    import ray.data

    found = arrow_files(storage.readable(config.path), config.image_column)
    task, told, listed = ray.remote(_told), Told(), []
    for number, (part, version) in enumerate(ray.get([task.remote(part, config) for part in found])):
        told.merge(part)
        listed.append({"part": number, "version": version})
    facts = require_columns(told, config, len(found))
    places = ray.data.from_items(listed, override_num_blocks=min(len(found), MOST_BLOCKS))
    return Reading(places, partial(_rows, found=found, config=config), facts, told.samples, digest(found))
