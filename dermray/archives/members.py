"""What an archive holds: its files by name, where each lies in it, or why it cannot be read."""

from typing import NamedTuple


class DamagedArchive(ValueError):
    """An archive as a whole cannot be read."""


class UnreadableMember(ValueError):
    """One file of an archive cannot be read; says why."""


class Member(NamedTuple):
    """A file of an archive. Folders are none."""

    name: bytes  # UTF-8, parts joined by /
    start: int  # byte of the archive where its data begins; in a zip the header before it
    packed: int  # bytes in the archive
    size: int
    method: int = 0  # zip's number of how it is compressed
    crc: int = 0  # of its data, in a zip
    reason: str | None = None  # why it cannot be read
    link: bytes | None = None  # name of the member that it stands for


LINK = "link to what is no file of its archive"
