"""Zip archives: random access by the directory at their end, as Python's zipfile reads it."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator

from dermray.archives.files import RangeFile, buffered
from dermray.archives.members import DamagedArchive, Member, UnreadableMember
from dermray.stores import Ranges

BUFFER = 1 << 16
STORED = zipfile.ZIP_STORED
METHODS = (STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
HEADER, MARK = struct.Struct("<4s22xHH"), b"PK\x03\x04"  # of a member; lengths of its name and its extra field
EXTRA = 128  # bytes: a header's extra field may be longer than the directory's; with these one request gets all
ENCRYPTED, UTF8 = 1, 1 << 11
WINDOWS = (0, 10)  # systems whose writers may part folders by backslashes
LINK = "link in a zip archive: unpack it, or write the file itself into the archive"


def members(file: Ranges) -> Iterator[Member]:
    """All files of the archive, as its directory has them.

    Raises:
        DamagedArchive: no zip archive, or one that ends early.
    """
    try:
        with zipfile.ZipFile(buffered(file, BUFFER)) as archive:
            found = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, EOFError) as error:
        raise DamagedArchive(f"{file.uri}: no zip archive, or not whole ({error}); download it again") from None
    for info in found:
        if not info.is_dir():
            packed = info.compress_size
            yield Member(_name(info), info.header_offset, packed, info.file_size, info.compress_type, info.CRC,
                         _unreadable(info))  # fmt: skip


def _name(info: zipfile.ZipInfo) -> bytes:
    """In UTF-8. Where its writer did not say so it may be all the same: macOS never says it."""
    name = info.filename
    if not info.flag_bits & UTF8:
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            name = info.filename
    if info.create_system in WINDOWS:
        name = name.replace("\\", "/")
    return name.encode("utf-8", "surrogateescape").removeprefix(b"./")


def _unreadable(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & ENCRYPTED:
        return "encrypted in its archive"
    if info.create_system not in WINDOWS and stat.S_ISLNK(info.external_attr >> 16):
        return LINK
    if info.compress_type not in METHODS:
        return f"compressed by method {info.compress_type}, expected stored, deflated, bzip2 or LZMA"
    return None


def read(file: Ranges, member: Member) -> bytes:
    """A member's bytes, checked: one request for header and data.

    Raises:
        UnreadableMember: damaged. OSError: the archive does not give them.
    """
    data = file.read(member.start, HEADER.size + len(member.name) + EXTRA + member.packed)
    skip = _skip(file, member, data)
    packed = data[skip : skip + member.packed]
    if len(packed) < member.packed:
        packed = file.read(member.start + skip, member.packed)
    with stream(member, io.BytesIO(packed)) as opened:
        try:
            whole = opened.read()
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            raise UnreadableMember(f"damaged in its archive ({error})") from None
    if len(whole) != member.size:
        raise UnreadableMember(f"damaged in its archive ({len(whole)} bytes, expected {member.size})")
    return whole


def data_start(file: Ranges, member: Member) -> int:
    """The byte of the archive where a member's data begins."""
    return member.start + _skip(file, member, file.read(member.start, HEADER.size))


def _skip(file: Ranges, member: Member, data: bytes) -> int:
    """Bytes of a member's header."""
    if len(data) < HEADER.size or not data.startswith(MARK):
        raise UnreadableMember(f"damaged in its archive (no header at byte {member.start})")
    _, name, extra = HEADER.unpack_from(data)
    return HEADER.size + int(name) + int(extra)


def stream(member: Member, packed: io.BytesIO | RangeFile) -> zipfile.ZipExtFile:
    """A member's data as a file; to go back in it begins anew where it is compressed."""
    info = zipfile.ZipInfo(member.name.decode("utf-8", "replace"))
    info.compress_type, info.compress_size, info.file_size, info.CRC = (
        member.method, member.packed, member.size, member.crc)  # fmt: skip
    return zipfile.ZipExtFile(packed, "r", info)
