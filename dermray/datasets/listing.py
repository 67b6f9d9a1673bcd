"""Every file below a place. What is not read has a reason, so that no file is missed in silence."""

import mimetypes
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from dermray import s3, storage

MAX_BYTES = 1 << 30  # 64 megapixels of 16-bit RGBA are half of it: whatever is larger is an archive or a film


@dataclass(frozen=True)
class File:
    """A file that may be an image, or the reason why it is not opened."""

    name: str  # relative to the place, parts joined by /
    reason: str | None = None


def files(uri: str) -> Iterator[File]:
    """All files below a local folder or S3 prefix, in no order, as they are listed.

    Links to files and folders are followed. Names only rule out: whether the others are images their content decides.
    """
    found = _s3_files(uri) if storage.is_s3(uri) else _local_files(uri, "", ())
    for name, size, reason in found:
        text = os.fsencode(name).decode("utf-8", "backslashreplace")
        if text != name:
            reason = "name is not UTF-8: rename the file"
        yield File(text, reason or _no_image(text, size))


def _no_image(name: str, size: int) -> str | None:
    """Why a file is not opened, as far as its name and size tell."""
    *folders, last = name.split("/")
    if {"", ".", ".."} & {*folders, last}:
        return "unreadable name: empty, . or .. between slashes"
    if any(part.startswith(".") for part in (*folders, last)):
        return "hidden file or folder"
    if any(folder.startswith("_") for folder in folders):  # cameras give such names to files: _DSC0001.JPG
        return "in a folder whose name begins with _"
    extension = PurePosixPath(last).suffix.lower()
    if extension in _other_extensions():
        return f"no image by its name ({extension})"
    return f"larger than {MAX_BYTES >> 30} GiB" if size > MAX_BYTES else None


@cache
def _other_extensions() -> frozenset[str]:
    """Extensions of texts, tables, films, archives: Python's own list, which is the same on every machine."""
    kinds = mimetypes.MimeTypes().types_map[True]
    unknown = "application/octet-stream"
    return frozenset(name for name, kind in kinds.items() if not kind.startswith("image/") and kind != unknown)


def _s3_files(uri: str) -> Iterator[tuple[str, int, str | None]]:
    for stored in s3.objects(uri):
        yield stored.name, stored.size, None


def _local_files(root: str, inside: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, int, str | None]]:
    """Name, bytes and a reason of what lies in a folder; `above` identifies the folders that it lies in."""
    folder = os.path.join(root, inside)
    try:
        own = os.stat(folder)
        entries = os.scandir(folder)
    except OSError as error:
        yield inside, 0, f"folder unreadable: {error.strerror}"
        return
    here = (own.st_dev, own.st_ino)
    if here in above:
        yield inside, 0, "link to a folder that it lies in"
        return
    with entries:
        for entry in entries:
            name = f"{inside}/{entry.name}" if inside else entry.name
            try:
                status = entry.stat()
            except OSError as error:  # a link to nothing or to itself
                yield name, 0, f"file unreadable: {error.strerror}"
                continue
            if stat.S_ISDIR(status.st_mode):
                yield from _local_files(root, name, (*above, here))
            elif stat.S_ISREG(status.st_mode):
                yield name, status.st_size, None
            else:
                yield name, 0, "no regular file"  # a pipe would be read for ever
