"""Every file below a place. What is not read has a reason, so that no file is missed in silence.

Folders are named by the way to them from the place, with a slash at the end: so S3 knows them, in which `a` and `a/`
are two names.
"""

import mimetypes
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from pyarrow import fs

from dermray import s3, storage
from dermray.archives import paths as archives

MAX_BYTES = 1 << 30  # 64 megapixels of 16-bit RGBA are half of it: whatever is larger is an archive or a film


Entry = tuple[str, int, str | None]  # name, bytes, and why it cannot be read


@dataclass(frozen=True)
class File:
    """A file that may be an image, or the reason why it is not opened."""

    name: str  # relative to the place, parts joined by /
    reason: str | None = None


def files(uri: str, folder: str = "") -> Iterator[File]:
    """All files in a folder below a place, and below it, in no order, as they are listed. A place is a local folder, an
    S3 prefix, an archive or a folder in one, or a folder of a store that fsspec reads.

    Links to files and folders are followed. Names only rule out: whether the others are images their content decides.

    Args:
        folder: name that `level` gave, or "" for the place itself.
    """
    if place := archives.parted(uri):
        found = _archive_files(place, folder)
    elif storage.is_s3(uri):
        found = _s3_files(uri, folder)
    else:
        found = _other_files(uri, folder) if storage.has_scheme(uri) else _local_files(uri, folder)
    return (_file(*entry) for entry in found)


def level(uri: str, folder: str = "") -> Iterator[File | str]:
    """The files that lie in a folder itself, and the names of the folders in it: with `files` of these, all of them."""
    if place := archives.parted(uri):
        found = _archive_level(place, folder)
    elif storage.is_s3(uri):
        found = _s3_level(uri, folder)
    else:
        found = _other_level(uri, folder) if storage.has_scheme(uri) else _local_level(uri, folder)
    return (entry if isinstance(entry, str) else _file(*entry) for entry in found)


def _file(name: str, size: int, reason: str | None) -> File:
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    if text != name:
        reason = "name is not UTF-8: rename the file"
    return File(text, reason or _no_image(text, size))


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


def _s3_files(uri: str, folder: str) -> Iterator[Entry]:
    for stored in s3.objects(uri, folder):
        yield stored.name, stored.size, None


def _s3_level(uri: str, folder: str) -> Iterator[Entry | str]:
    for stored in s3.level(uri, folder):
        yield stored if isinstance(stored, str) else (stored.name, stored.size, None)


def _archive_files(place: tuple[str, str], folder: str) -> Iterator[Entry]:
    archive, inside = place[0], f"{place[1]}/".lstrip("/")
    for member in archives.opened(archive).files.below(inside + folder):
        yield os.fsdecode(member.name).removeprefix(inside), member.size, member.reason


def _archive_level(place: tuple[str, str], folder: str) -> Iterator[Entry | str]:
    archive, inside = place[0], f"{place[1]}/".lstrip("/")
    for entry in archives.opened(archive).files.level(inside + folder):
        if isinstance(entry, bytes):
            yield os.fsdecode(entry).removeprefix(inside)
        else:
            yield os.fsdecode(entry.name).removeprefix(inside), entry.size, entry.reason


def _other_files(uri: str, folder: str) -> Iterator[Entry]:
    return (entry for entry in _other_listed(uri, folder, below=True) if not isinstance(entry, str))


def _other_level(uri: str, folder: str) -> Iterator[Entry | str]:
    return _other_listed(uri, folder, below=False)


def _other_listed(uri: str, folder: str, below: bool) -> Iterator[Entry | str]:
    system, path = storage.filesystem(uri)
    before = path.rstrip("/") + "/"
    for entry in system.get_file_info(fs.FileSelector((before + folder).rstrip("/"), recursive=below)):
        name = entry.path.rstrip("/").removeprefix(before)
        yield f"{name}/" if entry.type == fs.FileType.Directory else (name, entry.size or 0, None)


def _local_files(root: str, folder: str) -> Iterator[Entry]:
    for entry in _local_level(root, folder):
        if isinstance(entry, str):
            yield from _local_files(root, entry)
        else:
            yield entry


def _local_level(root: str, folder: str) -> Iterator[Entry | str]:
    path, itself = os.path.join(root, folder), folder.removesuffix("/")
    try:
        if _lies_in_itself(root, folder):
            yield itself, 0, "link to a folder that it lies in"
            return
        entries = os.scandir(path)
    except OSError as error:
        yield itself, 0, f"folder unreadable: {error.strerror}"
        return
    with entries:
        for entry in entries:
            name = folder + entry.name
            try:
                status = entry.stat()
            except OSError as error:  # a link to nothing or to itself
                yield name, 0, f"file unreadable: {error.strerror}"
                continue
            if stat.S_ISDIR(status.st_mode):
                yield f"{name}/"
            elif stat.S_ISREG(status.st_mode):
                yield name, status.st_size, None
            else:
                yield name, 0, "no regular file"  # a pipe would be read for ever


def _lies_in_itself(root: str, folder: str) -> bool:
    """Whether a folder is one of those on the way to it, as links can make it."""
    parts = folder.split("/")[:-1]
    *above, own = (os.stat(os.path.join(root, *parts[:i])) for i in range(len(parts) + 1))
    return any(os.path.samestat(own, other) for other in above)
