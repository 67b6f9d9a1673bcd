"""Webdataset shards: tar files of samples, key.jpg beside key.json, key.cls or key.txt, read where they lie.

    train-000000.tar: case1.jpg case1.json case2.jpg case2.json ...

A sample's files have one name up to the first dot after the last slash, as the library `webdataset` parts them (its
issues #237 and #288: a dot in a name begins its ending), and lie together. The columns that `columns` maps are the keys
of its .json and the endings of its other texts: `cls`, `txt`. A shard or its folder that begins with train, val or test
is of that split. `.tar.gz` is read too. Each file of a shard that is no part of a sample is a rejected row, and a shard
that ends early a failed one; nothing is unpacked.
"""

import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field

from dermray import storage, stores
from dermray.datasets.image_names import IMAGE_SUFFIXES
from dermray.datasets.listing import File, files
from dermray.datasets.samples import Sample, SamplesConfig, Told, parts, require_columns
from dermray.datasets.sources import MOST_BLOCKS, Reading
from dermray.datasets.splits import official_name
from dermray.records import AT

SHARDS = (".tar", ".tar.gz", ".tgz")
PARTED = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")  # the library's own rule; it takes endings in lower case too
LARGEST_TEXT = 1 << 20  # bytes of a sample's .json or .txt: what is larger says nothing of an image
BUFFER = 4 << 20


class SourceConfig(SamplesConfig):
    """The folder of shards, or one of them."""

    name: str = "webdataset"
    image: str | None = Field(None, description="ending of the image, such as left.png; found out where there is one")


def samples(uri: str, name: str, config: SourceConfig, images: bool = True) -> Iterator[Sample]:
    """The samples of a shard. Without `images` their bytes are passed over.

    Args:
        name: the shard's, as the rows' source_id begins.
    """
    split, seen, key, texts = _split(name), dict[str, int](), None, dict[str, bytes | None]()
    try:
        with _opened(uri) as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # else every header of the shard is kept
                if member.isdir():
                    continue
                match = PARTED.fullmatch(member.name.removeprefix("./"))
                if match is None or not member.isfile():
                    yield _rejected(f"{name}/{member.name}", "file of a shard that is no part of a sample", uri, split)
                    continue
                if match[1] != key:
                    if key is not None:
                        yield _sample(key, texts, uri, name, split, config, seen)
                    key, texts = match[1], {}
                ending = match[2].lower()
                texts[ending] = _read(tar, member, ending) if images or not _is_image(ending) else b""
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        if key is not None:
            yield _damaged(f"{name}/{key}", error, uri, split)
            key = None
        yield _damaged(name, error, uri, split)
    if key is not None:
        yield _sample(key, texts, uri, name, split, config, seen)


def _sample(
    key: str, found: dict[str, bytes | None], uri: str, name: str, split: str | None, config: SourceConfig,
    seen: dict[str, int],
) -> Sample:  # fmt: skip
    """A sample out of its files by their endings."""
    place = f"{name} {key}"
    seen[key] = seen.get(key, 0) + 1
    if seen[key] > 1:
        whole = f"{name}/{key} ({seen[key]})"
        return _rejected(whole, "sample whose files do not lie together, or whose name is there twice", uri, split)
    pictures = [ending for ending in found if _is_image(ending)]
    chosen = [config.image] if config.image in found else pictures if config.image is None else []
    if len(chosen) != 1:
        kind = "several images" if len(chosen) > 1 else "no image"
        wanted = f"; name one with `image`: {', '.join(chosen)}" if chosen else f", only {', '.join(found)}"
        reason = f"{kind} in sample{AT}{place}{wanted}"
        return Sample(f"{name}/{key}", place, split=split, status="failed", reason=reason)
    values: dict[str, str | None] = {}
    for ending, data in found.items():
        if _is_image(ending):
            continue
        said = _values(ending, data)
        if said is None:
            reason = f"sample's .{ending} cannot be read{AT}{place}"
            return Sample(f"{name}/{key}", place, split=split, status="failed", reason=reason)
        values |= said
    return Sample(f"{name}/{key}", place, values, found[chosen[0]] or b"", split=split)


def _values(ending: str, data: bytes | None) -> dict[str, str | None] | None:
    """What a text says by column: a .json its keys, another its ending; None for what is no such text."""
    if data is None:
        return {}
    try:
        text = data.decode()
        if ending.rpartition(".")[2] != "json":
            return {ending: text.strip()}
        said = json.loads(text)
    except ValueError:
        return None if ending.rpartition(".")[2] in ("json", "cls", "txt") else {}  # arrays, pickles: not read
    if not isinstance(said, dict):
        return None
    return {str(key): None if value is None else _text(value) for key, value in said.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_image(ending: str) -> bool:
    return f".{ending.rpartition('.')[2].lower()}" in IMAGE_SUFFIXES


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> bytes | None:
    if not _is_image(ending) and member.size > LARGEST_TEXT:
        return None
    stream = tar.extractfile(member)
    data = stream.read() if stream is not None else b""
    if len(data) != member.size:
        raise EOFError("unexpected end of data")
    return data


@contextmanager
def _opened(uri: str) -> Iterator[tarfile.TarFile]:
    system, path = storage.filesystem(uri)
    with (
        system.open_input_file(path) as file,
        io.BufferedReader(file, BUFFER) as buffered,
        tarfile.open(fileobj=buffered, mode="r:*") as tar,
    ):
        yield tar


def _split(name: str) -> str | None:
    """By the shard's folders and the first word of its name."""
    path = PurePosixPath(name)
    words = [*path.parts[:-1], re.split(r"[-_.]", path.name)[0]]
    return next((split for split in map(official_name, words) if split), None)


def _rejected(name: str, reason: str, uri: str, split: str | None) -> Sample:
    return Sample(name, name, split=split, status="rejected", reason=f"{reason}{AT}{uri}")


def _damaged(name: str, error: Exception, uri: str, split: str | None) -> Sample:
    return Sample(name, name, split=split, status="failed", reason=f"shard damaged, or no tar file{AT}{uri}: {error}")


def shards(path: str) -> tuple[dict[str, str], int]:
    """URIs of the shards below a place by their names, in order; how many other files lie there.

    Raises:
        FileNotFoundError: no such place. ValueError: no shard in it.
    """
    if not storage.exists(path):
        raise FileNotFoundError(f"{path}: no such folder or shard; check the source's path")
    # a zip holds shards as a folder does; a web server's folder is to be told from a file by its name alone
    may_be_one = path.lower().endswith(SHARDS) or not (stores.is_other(path) or path.lower().endswith(".zip"))
    if may_be_one and not storage.is_directory(path):
        return {path.rpartition("/")[2]: path}, 0
    listed: list[File] = sorted(files(path), key=lambda file: file.name)
    # their names rule out archives as images: that is what they are here
    named = [file.name for file in listed if file.name.lower().endswith(SHARDS) and not _hidden(file.name)]
    if not named:
        raise ValueError(f"{path}: expected webdataset shards, *.tar; there are {len(listed)} other files")
    return {name: storage.join(path, name) for name in named}, len(listed) - len(named)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _told(uri: str, name: str, config: SourceConfig) -> tuple[Told, str]:
    told, version = Told(), storage.version(uri)
    for sample in samples(uri, name, config, images=False):
        told.add(sample, config)
    return told, version


def _rows(batch: Any, config: SourceConfig) -> Iterator[Any]:
    for row in batch.to_pylist():
        yield from parts(samples(row["uri"], row["name"], config), config)


def read(config: SourceConfig) -> Reading:
    """All samples of all shards: a task has a shard, which was read once before without its images.

    Raises:
        FileNotFoundError, ValueError: no shard or sample, or a column, word or class that occurs nowhere.
    """
    import ray
    import ray.data

    found, others = shards(storage.readable(config.path))
    task, told, listed = ray.remote(_told), Told(), []
    answers = ray.get([task.remote(uri, name, config) for name, uri in found.items()])
    for (name, uri), (part, version) in zip(found.items(), answers, strict=True):
        told.merge(part)
        listed.append({"name": name, "uri": uri, "version": version})
    facts = require_columns(told, config, len(found), others)
    places = ray.data.from_items(listed, override_num_blocks=min(len(found), MOST_BLOCKS))
    return Reading(places, partial(_rows, config=config), facts, told.samples)
