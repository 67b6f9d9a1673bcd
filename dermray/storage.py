"""Files by URI, on local disk and in S3: the same few verbs, and two that decide races.

Paths without a scheme are local; s3.py says how S3 is reached. What is only read may also lie in an archive, whose name
stands in the path where a folder's would, and in any store that fsspec reads: see archives/paths.py, stores.py.
"""

import contextlib
import os
import posixpath
import shutil
import uuid
from pathlib import Path
from typing import Any

from pyarrow import fs

from dermray import s3, s3_parquet, s3_transfers, store_errors, stores
from dermray.archives import filesystem as archive_files
from dermray.archives import paths
from dermray.stores import has_scheme as has_scheme
from dermray.stores import is_s3 as is_s3


class OutputTaken(RuntimeError):
    """Another writer owns this output, or finished it first."""


def is_local(uri: str) -> bool:
    """Whether `uri` is the path of a file or directory that this machine's libraries open by themselves."""
    return not stores.has_scheme(uri) and paths.member_of(uri) is None


def readable(uri: str | Path) -> str:
    """As `normalise`, of what is only read: any scheme, and archives in the path.

    Raises:
        ValueError: an archive of a kind that is not read in place.
    """
    text = str(uri)
    place = text.rstrip("/") if stores.has_scheme(text) else normalise(text)
    paths.require_kind(place)
    return place


def normalise(uri: str | Path) -> str:
    """Absolute path or s3:// URI without a trailing slash: workers have other working directories."""
    text = str(uri)
    if is_s3(text):
        return text.rstrip("/")
    if "://" in text or text.startswith("s3:"):
        raise ValueError(f"{text}: expected a local path or an s3:// URI")
    return str(Path(text).expanduser().resolve())


def join(uri: str, *parts: str) -> str:
    """`uri` with parts appended."""
    return "/".join([uri.rstrip("/"), *parts])


def relative(uri: str, start: str) -> str | None:
    """A directory as seen from another, such as ../caption; None where one is local and the other in S3."""
    if is_s3(uri) != is_s3(start):
        return None
    return posixpath.relpath(uri.removeprefix("s3:/"), start.removeprefix("s3:/"))


def resolve(place: str, start: str) -> str:
    """What `relative` told: the URI of a place as seen from a directory. An absolute one is itself."""
    if is_s3(place) or place.startswith("/"):
        return place
    scheme = "s3:/" if is_s3(start) else ""
    return scheme + posixpath.normpath(join(start.removeprefix(scheme), place))


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """pyarrow's file system for `uri` and the path inside it.

    Raises:
        ValueError: an S3 URI, and the settings for S3 cannot be used: see `s3.clients`; or an archive on the way is
            damaged. ImportError: the package that reads this scheme is not installed.
    """
    uri = str(uri)
    if member := paths.member_of(uri):
        return archive_files.of(member[0]), member[1]
    return stores.filesystem(uri)


def parquet_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """As `filesystem`, to read Parquet files from: in S3 with a third of the requests where columns are narrow."""
    system, path = filesystem(uri)
    return (fs.PyFileSystem(s3_parquet.ParquetReading()) if is_s3(uri) else system), path


def exists(uri: str) -> bool:
    """Whether a file or directory is there."""
    if member := paths.member_of(uri):
        return paths.exists(member)
    system, path = filesystem(uri)
    with store_errors.explained(uri):
        return bool(system.get_file_info(path).type != fs.FileType.NotFound)


def is_directory(uri: str) -> bool:
    """Whether a directory is there."""
    system, path = filesystem(uri)
    return bool(system.get_file_info(path).type == fs.FileType.Directory)


def version(uri: str) -> str:
    """Changes where a file does, or the archive that it lies in: size and time, as the store says them."""
    if member := paths.member_of(uri):
        return version(member[0])
    system, path = filesystem(uri)
    found = system.get_file_info(path)
    return f"{found.size} {found.mtime_ns}"


def read_bytes(uri: str) -> bytes:
    """The file's bytes.

    Raises:
        FileNotFoundError: with the URI. PermissionError: it must not be read. store_errors.Passing: S3 did not answer,
            after many tries. UnreadableMember: a file of an archive that is damaged, encrypted or no file.
    """
    if member := paths.member_of(uri):
        return paths.read(uri, member)
    if stores.is_other(uri):
        return stores.read_other(uri)
    system, path = stores.filesystem(uri)

    def read() -> bytes:
        with system.open_input_file(path) as file:  # a stream would read 256 KiB a request
            return bytes(file.read())

    with store_errors.explained(uri):
        return s3.again(read)


def open_parquet(uri: str, **options: Any) -> Any:
    """A Parquet file as pyarrow's ParquetFile; to be closed. In S3 opening it and reading its last columns is often one
    request.

    Raises:
        FileNotFoundError: with the URI. OSError, ValueError: it is none, or not whole yet.
    """
    from pyarrow import parquet

    if is_s3(uri):
        return parquet.ParquetFile(s3_parquet.EndFirst(uri), **options)
    return parquet.ParquetFile(uri, **options)


def write_bytes(uri: str, data: bytes | memoryview) -> None:
    """Write or replace a file in one step: a reader sees the old bytes or the new ones.

    Raises:
        OSError: it cannot be written; see `store_errors`.
    """
    system, path = filesystem(uri)
    with store_errors.explained(uri):
        if is_s3(uri):
            with system.open_output_stream(path, compression=None) as stream:  # else .gz would be gzipped again
                stream.write(data)
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        partial = f"{path}.{uuid.uuid4().hex}.partial"
        try:
            Path(partial).write_bytes(data)
            os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)


def create(uri: str, data: bytes) -> None:
    """Write a file that must not be there yet. Of concurrent callers with different data exactly one succeeds.

    Raises:
        OutputTaken: it is there. OSError: it cannot be written; see `store_errors`.
    """
    if is_s3(uri):
        client, bucket, key = s3.client_of(uri)
        try:
            client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise
            # a request whose answer was lost is sent again, and meets what it wrote itself
            if not exists(uri) or read_bytes(uri) != data:
                raise OutputTaken(f"{uri}: another writer was first") from None
        return
    with store_errors.explained(uri):
        _create_on_disk(Path(uri), data)


def _create_on_disk(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(data)
        os.link(partial, path)  # fails where the name exists: rename would replace it
    except FileExistsError:
        raise OutputTaken(f"{path}: another writer was first") from None
    finally:
        partial.unlink(missing_ok=True)


def delete_tree(uri: str) -> None:
    """Remove a directory and all in it, or nothing if it is not there."""
    if exists(uri):
        system, path = filesystem(uri)
        with store_errors.explained(uri):
            system.delete_dir(path)


def delete_file(uri: str) -> None:
    """Remove a file, or nothing if it is not there."""
    if is_s3(uri):
        client, bucket, key = s3.client_of(uri)
        with contextlib.suppress(FileNotFoundError):  # the bucket
            client.delete_object(Bucket=bucket, Key=key)
    else:
        Path(uri).unlink(missing_ok=True)


def delete_files(uris: list[str]) -> None:
    """Remove files of one store, which may be gone already."""
    if uris and is_s3(uris[0]):
        s3.delete(uris)
    else:
        for uri in uris:
            delete_file(uri)


def make_directory(uri: str) -> None:
    """Create a local directory; S3 needs none.

    Raises:
        OSError: it cannot be written to.
    """
    if is_s3(uri):
        return
    try:
        Path(uri).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{uri}: cannot create this directory ({error.strerror}); choose another output") from None
    if not os.access(uri, os.W_OK):
        raise OSError(f"{uri}: not writable; choose another output")


def list_files(uri: str, suffix: str = "", below: bool = True) -> list[str]:
    """URIs of the files in `uri` and, if `below`, in the directories there, sorted."""
    found = _entries(uri, below)
    scheme = "s3://" if is_s3(uri) else ""
    return sorted(scheme + f.path for f in found if f.type == fs.FileType.File and f.path.endswith(suffix))


def list_directories(uri: str) -> list[str]:
    """Names of the directories right below `uri`, sorted."""
    return sorted(entry.base_name for entry in _entries(uri, below=False) if entry.type == fs.FileType.Directory)


def last_written(uri: str) -> float:
    """Unix seconds of the newest file below `uri` by its store's clock; 0 where there is none."""
    entries = _entries(uri, below=True)
    return max((entry.mtime_ns / 1e9 for entry in entries if entry.type == fs.FileType.File), default=0.0)


def _entries(uri: str, below: bool) -> list[fs.FileInfo]:
    system, path = filesystem(uri)
    with store_errors.explained(uri):
        return list(system.get_file_info(fs.FileSelector(path, recursive=below, allow_not_found=True)))


def duplicate(source: str, target: str) -> None:
    """All files below `source` at `target` in the same store, without their bytes passing through here: links on a
    disk, copies by S3 itself. Files that change afterwards must be replaced, not written into."""
    if is_s3(source):
        s3_transfers.copy(source, target)
    else:
        shutil.copytree(source, target, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without links
        shutil.copy2(source, target)


def copy_directory(source: str, target: str) -> None:
    """Copy all files below `source` to `target`; from S3 to S3 without passing through this machine."""
    if is_s3(source):
        if is_s3(target):
            s3_transfers.copy(source, target)
        elif found := s3.files(source):
            s3_transfers.download(source, found, Path(target))
        else:
            raise FileNotFoundError(f"{source}: no such directory, or nothing in it")
    elif is_s3(target):
        s3_transfers.upload(Path(source), target)
    else:
        with store_errors.explained(target):
            _copy_on_disk(Path(source), Path(target))


def _copy_on_disk(source: Path, target: Path) -> None:
    """Bytes alone: `source` may be a temporary directory, which nobody else may enter."""
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such directory")
    target.mkdir(parents=True, exist_ok=True)
    for file in source.rglob("*"):
        if file.is_file():
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
