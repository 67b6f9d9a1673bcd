"""Tar archives, which have no directory: one pass over their headers finds it.

A .tar is then read here and there. So is a .tar.gz, by indexed_gzip: a second pass keeps the state of unpacking for
each SPACING of its content. From the nearest state a SEGMENT is unpacked, for all files in it: those that are asked for
in the archive's order are unpacked about one and a half times, in another order with a segment each.
"""

import functools
import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dermray.archives.files import buffered
from dermray.archives.members import LINK, DamagedArchive, Member
from dermray.stores import Ranges, has_scheme

SPACING = 4 << 20  # bytes of content: 32 KB are kept for each
SEGMENT, SEGMENTS = 8 << 20, 4  # bytes of content that are unpacked at a time; how many of these a process holds
NEAR, FAR = 1 << 13, 16 << 20  # bytes read at a time where a request costs nothing, and where it takes its time
GZIPPED = (".tar.gz", ".tgz")


def members(file: Ranges) -> tuple[list[Member], bytes]:
    """All files of the archive in its order, and what `unpacked` needs to read a gzipped one.

    Raises:
        DamagedArchive: no tar archive, or one that ends early. OSError: the archive is not given.
    """
    size = FAR if has_scheme(file.uri) else NEAR
    if not is_gzipped(file.uri):
        return list(_members(buffered(file, size), file.uri)), b""
    # two passes: with indexed_gzip each header would be unpacked from the state before it
    with gzip.GzipFile(fileobj=buffered(file, size)) as content:
        return list(_members(content, file.uri)), _states(file)


def _states(file: Ranges) -> bytes:
    """The states of unpacking, by a second pass."""
    from indexed_gzip.indexed_gzip import CrcError, ZranError

    kept = io.BytesIO()
    try:
        with _gzip(file, FAR) as packed:
            packed.build_full_index()
            packed.export_index(fileobj=kept)
    except (CrcError, ZranError) as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise _damaged(file.uri, error) from None
    return kept.getvalue()


def is_gzipped(uri: str) -> bool:
    """Whether its name says so."""
    return uri.lower().endswith(GZIPPED)


def _gzip(file: Ranges, size: int) -> Any:
    import indexed_gzip

    return indexed_gzip.IndexedGzipFile(
        fileobj=buffered(file, size), spacing=SPACING, readbuf_size=1 << 20, buffer_size=1 << 20
    )


class _Remembering:
    """A file of which the bytes that were read last are at hand."""

    def __init__(self, file: Any) -> None:
        self.seek, self.tell, self._read, self.last = file.seek, file.tell, file.read, b""

    def read(self, size: int) -> bytes:
        """The next bytes."""
        self.last = self._read(size)
        return self.last


def _members(content: Any, uri: str) -> Iterator[Member]:
    file: Any = _Remembering(content)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                archive.members = []  # type: ignore[attr-defined]  # else every header is kept
                if not info.isdir():
                    yield _member(info)
            if file.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes any block that is no header for the end
                raise tarfile.ReadError(f"damaged header or no end mark at byte {archive.offset}")
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise _damaged(uri, error) from None


def _damaged(uri: str, error: Exception | str) -> DamagedArchive:
    return DamagedArchive(f"{uri}: no tar archive, or not whole ({error}); download it again")


def _member(info: tarfile.TarInfo) -> Member:
    name = os.fsencode(info.name).removeprefix(b"./")
    if info.islnk() or info.issym():
        target = info.linkname if info.islnk() else os.path.join(os.path.dirname(info.name), info.linkname)
        return Member(name, 0, 0, 0, reason=LINK, link=os.fsencode(os.path.normpath(target)))
    reason = "no regular file" if not info.isfile() else "sparse file" if info.issparse() else None
    return Member(name, info.offset_data, info.size, info.size, reason=reason)


def unpacked(file: Ranges, states: bytes) -> Ranges:
    """The tar archive in a gzipped one, read in parts.

    Args:
        states: what `members` gave with its files.
    """
    packed = _gzip(file, SPACING)
    packed.import_index(fileobj=io.BytesIO(states))
    # one thread unpacks for all: each has an arena of memory of its own, in which segments would stay
    unpacking = ThreadPoolExecutor(1)

    @functools.lru_cache(SEGMENTS)
    def segment(number: int) -> bytes:
        return bytes(packed.pread(SEGMENT, number * SEGMENT))

    def read(start: int, count: int) -> bytes:
        parts, end = list[bytes](), start + count
        for number in range(start // SEGMENT, (end - 1) // SEGMENT + 1):
            found = unpacking.submit(segment, number).result()
            parts.append(found[max(0, start - number * SEGMENT) : end - number * SEGMENT])
        return b"".join(parts)

    return Ranges(file.uri, 1 << 62, file.version, read)
