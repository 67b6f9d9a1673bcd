"""Paths that lead into archives: /data/x.zip/nv/1.jpg, s3://bucket/all.zip/part_1.zip/1.jpg.

A part of a path that ends in .zip, .tar, .tar.gz or .tgz is an archive where a file has that name, and else a folder.
An archive in an archive is read in place too, if it is not compressed in the outer one.
"""

import functools
import os
import re
import threading
from typing import NamedTuple

from pyarrow import fs

from dermray import stores
from dermray.archives import index, tars, zips
from dermray.archives.index import Index
from dermray.archives.members import DamagedArchive, Member, UnreadableMember
from dermray.stores import Ranges

ARCHIVE = re.compile(r"\.(?:zip|tar|tar\.gz|tgz)(?=/|$)", re.IGNORECASE)
OTHER = re.compile(r"\.(?:7z|rar|tar\.(?:bz2|xz|zst)|tbz2?|txz)/?$", re.IGNORECASE)
OPEN = 32  # archives that a process has open
LARGEST = 1 << 30  # bytes of a file that is read whole: some kilobytes of a zip may claim to be more
_guard = threading.RLock()


class Archive(NamedTuple):
    """An open archive."""

    file: Ranges  # of a gzipped tar, the tar in it
    files: Index

    def member(self, name: str, uri: str) -> Member:
        """The file of this name.

        Raises:
            FileNotFoundError: none.
        """
        if (found := self.files.find(name)) is None:
            raise FileNotFoundError(f"{uri}: no such file in {self.file.uri}")
        return found

    def zipped(self) -> bool:
        """Whether it is a zip archive."""
        return self.file.uri.lower().endswith(".zip")

    def random_access(self, member: Member) -> bool:
        """Whether any part of a file can be read by itself."""
        return member.reason is None and member.method == zips.STORED

    def data_start(self, member: Member) -> int:
        """The byte where a file's data begins."""
        return zips.data_start(self.file, member) if self.zipped() else member.start

    def read(self, member: Member) -> bytes:
        """All of a file.

        Raises:
            UnreadableMember: damaged, encrypted, or no file. OSError: the archive is not given.
        """
        if member.reason is not None:
            raise UnreadableMember(member.reason)
        if member.size > LARGEST:
            raise UnreadableMember(f"larger than {LARGEST >> 30} GiB")
        return zips.read(self.file, member) if self.zipped() else self.file.read(member.start, member.size)


def parted(uri: str) -> tuple[str, str] | None:
    """The archive that `uri` leads into and the name in it, "" for the archive itself; None where it leads into none.

    Raises:
        DamagedArchive, OSError: an archive on the way cannot be read.
    """
    found = None
    for match in ARCHIVE.finditer(uri):
        archive = uri[: match.end()]
        if found is None:
            found = archive if _is_file(archive) else None
        elif opened(found).files.find(archive[len(found) + 1 :]):
            found = archive
    return None if found is None else (found, uri[len(found) :].strip("/"))


def member_of(uri: str) -> tuple[str, str] | None:
    """As `parted`, None also for an archive by itself: that is a file like any other."""
    parent, _, last = uri.rstrip("/").rpartition("/")
    place = parted(parent)
    return place and (place[0], f"{place[1]}/{last}".lstrip("/"))


def _is_file(uri: str) -> bool:
    return _is_file_elsewhere(uri) if stores.has_scheme(uri) else os.path.isfile(uri)


@functools.lru_cache(1024)
def _is_file_elsewhere(uri: str) -> bool:
    system, path = stores.filesystem(uri)
    return bool(system.get_file_info(path).type == fs.FileType.File)


def opened(uri: str) -> Archive:
    """An archive, of which a process reads the index once.

    Raises:
        DamagedArchive: no archive, or not whole. FileNotFoundError, PermissionError, OSError: it is not given.
    """
    with _guard:  # of many threads the first opens it
        return _opened(uri, os.getpid(), _stamp(uri))


def _stamp(uri: str) -> tuple[int, int]:
    """Changes with a file on disk; what lies elsewhere is not asked again."""
    if stores.has_scheme(uri):
        return 0, 0
    outermost = next(uri[: match.end()] for match in ARCHIVE.finditer(uri) if os.path.isfile(uri[: match.end()]))
    status = os.stat(outermost)
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(OPEN)
def _opened(uri: str, *_state: object) -> Archive:
    outer = member_of(uri)
    file = stores.ranges(uri) if outer is None else _inner(opened(outer[0]), outer[1], uri)
    found = index.of(file)
    return Archive(tars.unpacked(file, found.states) if tars.is_gzipped(uri) else file, found)


def _inner(outer: Archive, name: str, uri: str) -> Ranges:
    """An archive in an archive, as a part of that."""
    member = outer.files.find(name)
    assert member is not None
    if not outer.random_access(member):
        raise DamagedArchive(
            f"{uri}: {member.reason or 'compressed in another archive'}, so no part of it can be read by itself; "
            f"unpack {outer.file.uri} once, or pack it without compression (zip -0)"
        )
    start = outer.data_start(member)
    return Ranges(
        uri, member.size, f"{outer.file.version} {start}", lambda place, count: outer.file.read(start + place, count)
    )


def read(uri: str, place: tuple[str, str]) -> bytes:
    """All bytes of a file in an archive.

    Args:
        place: what `member_of` gave for `uri`.

    Raises:
        FileNotFoundError: the archive has no such file. UnreadableMember: it cannot be read. OSError: the archive is
            not given.
    """
    archive = opened(place[0])
    return archive.read(archive.member(place[1], uri))


def exists(place: tuple[str, str]) -> bool:
    """Whether an archive has such a file or folder."""
    files = opened(place[0]).files
    return files.find(place[1]) is not None or files.is_folder(place[1])


def with_only_folder(uri: str) -> list[str]:
    """A place, and of an archive the folder in it too that holds all the others, as many are packed."""
    place = parted(uri)
    if place is None or place[1]:
        return [uri]
    found = [entry for entry in opened(place[0]).files.level("") if not _is_rubbish(entry)]
    alone = found[0] if len(found) == 1 else None
    return [uri, f"{uri}/{os.fsdecode(alone).rstrip('/')}"] if isinstance(alone, bytes) else [uri]


def _is_rubbish(entry: Member | bytes) -> bool:
    """What macOS packs beside the files."""
    return (entry if isinstance(entry, bytes) else entry.name).startswith((b"__MACOSX/", b"."))


def require_kind(uri: str) -> None:
    """Raises ValueError where a path names an archive of a kind that is not read in place."""
    if OTHER.search(uri) and _is_file(uri.rstrip("/")):
        raise ValueError(f"{uri}: expected a folder, .zip, .tar or .tar.gz; pack it anew as one of these, or unpack it")
