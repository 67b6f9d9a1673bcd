"""The files of an archive as a file system of pyarrow's, to be read."""

import io
import os
from typing import Any, NoReturn

import pyarrow as pa
from pyarrow import fs

from dermray import stores
from dermray.archives import zips
from dermray.archives.files import RangeFile, buffered
from dermray.archives.members import UnreadableMember
from dermray.archives.paths import Archive, member_of, opened

WHOLE = 64 << 20  # bytes of a compressed file up to which it is unpacked into memory, where any part is at hand
NEAR, FAR = 1 << 16, 8 << 20  # of a larger one that are read at a time from a disk, from elsewhere


def of(archive: str) -> fs.PyFileSystem:
    """The file system of an archive's URI. Its paths are the names in it."""
    return fs.PyFileSystem(_Members(archive))


def require_any_part(uri: str) -> None:
    """Raises ValueError where only reading a file from its start gets at its other parts, and it is a large one."""
    if place := member_of(uri):
        archive = opened(place[0])
        member = archive.member(place[1], uri)
        if member.size > WHOLE and not archive.random_access(member):
            raise ValueError(
                f"{uri}: compressed in its archive, and its parts are to be read in any order; unpack it, or pack the "
                "archive without compression (zip -0)"
            )


class _Members(fs.FileSystemHandler):
    def __init__(self, archive: str) -> None:
        self.archive = archive

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Members) and other.archive == self.archive

    def __hash__(self) -> int:
        return hash(self.archive)

    def get_type_name(self) -> str:
        return "archive"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        files = opened(self.archive).files
        return [self._info(files, path) for path in paths]

    def _info(self, files: Any, path: str) -> fs.FileInfo:
        if (member := files.find(path)) is not None:
            return fs.FileInfo(path, fs.FileType.File, size=member.size)
        return fs.FileInfo(path, fs.FileType.Directory if files.is_folder(path) else fs.FileType.NotFound)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        files, folder = opened(self.archive).files, selector.base_dir.strip("/")
        if not files.is_folder(folder):
            if selector.allow_not_found:
                return []
            raise FileNotFoundError(f"{self.archive}/{folder}: no such folder in the archive")
        inside = f"{folder}/" if folder else ""
        entries = files.below(inside) if selector.recursive else files.level(inside)
        names = (os.fsdecode(entry if isinstance(entry, bytes) else entry.name).rstrip("/") for entry in entries)
        return [self._info(files, name) for name in names]

    def open_input_stream(self, path: str) -> Any:
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> Any:
        archive, uri = opened(self.archive), f"{self.archive}/{path}"
        member = archive.member(path, uri)
        if archive.random_access(member):
            return pa.PythonFile(RangeFile(archive.file, archive.data_start(member), member.size), "r")
        try:
            if member.reason is not None or member.size <= WHOLE:
                return pa.BufferReader(archive.read(member))
        except UnreadableMember as error:
            raise UnreadableMember(f"{uri}: {error}") from None
        return pa.PythonFile(_compressed(archive, member), "r")

    def _refused(self, *_: Any, **__: Any) -> NoReturn:
        raise OSError(f"{self.archive}: files in archives are read only; choose another place to write to")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = move = _refused
    copy_file = open_output_stream = open_append_stream = _refused


def _compressed(archive: Archive, member: Any) -> io.BufferedReader:
    """A file of a zip archive, unpacked as it is read. To go back in it begins anew."""
    size = FAR if stores.has_scheme(archive.file.uri) else NEAR
    packed = buffered(archive.file, size, archive.data_start(member), member.packed)
    return io.BufferedReader(zips.stream(member, packed), 1 << 20)  # type: ignore[arg-type]
