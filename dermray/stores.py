"""Where files lie, by URI: a disk, S3, and for reading whatever fsspec knows (gs://, az://, hf://, https://, memory://).

storage.py is what other modules use; this one knows nothing of archives. fsspec's file systems take their settings from
where their own packages look for them, as gcsfs does from GOOGLE_APPLICATION_CREDENTIALS.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from pyarrow import fs

from dermray import s3

Result = TypeVar("Result")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
TRIES, PAUSE = 5, 0.2  # of a request to a store that is neither S3 nor a disk; seconds before the second, then doubling


def has_scheme(uri: str) -> bool:
    """Whether `uri` names more than a local path."""
    return SCHEME.match(uri) is not None


def is_s3(uri: str) -> bool:
    """Whether `uri` names an S3 object."""
    return uri.startswith("s3://")


def is_other(uri: str) -> bool:
    """Whether `uri` is fsspec's to read."""
    return has_scheme(uri) and not is_s3(uri)


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """pyarrow's file system for `uri` and the path inside it.

    Raises:
        ImportError, ValueError: see `other`; for S3 see `s3.clients`.
    """
    if is_s3(uri):
        return s3.clients(uri)[1], uri.removeprefix("s3://")
    if not has_scheme(uri):
        return fs.LocalFileSystem(), uri
    system, path = other(uri)
    return fs.PyFileSystem(_Patient(system)), path


class _Patient(fs.FSSpecHandler):
    """fsspec's file system as pyarrow's, asked as `asked` does."""

    def get_file_info(self, paths: list[str]) -> Any:
        return [self._told(path) for path in paths]

    def _told(self, path: str) -> fs.FileInfo:
        try:
            return self._create_file_info(path, asked(path, partial(self.fs.info, path)))
        except (FileNotFoundError, PermissionError):  # some servers say 403 of what is not there
            return fs.FileInfo(path, fs.FileType.NotFound)

    def get_file_info_selector(self, selector: fs.FileSelector) -> Any:
        return asked(selector.base_dir, partial(super().get_file_info_selector, selector))

    def open_input_file(self, path: str) -> Any:
        return asked(path, partial(super().open_input_file, path))

    def open_input_stream(self, path: str) -> Any:
        return asked(path, partial(super().open_input_stream, path))


def other(uri: str) -> tuple[Any, str]:
    """fsspec's file system for `uri` and the path inside it.

    Raises:
        ImportError: the package for its scheme is not installed. ValueError: nobody knows the scheme.
    """
    from fsspec.core import url_to_fs

    scheme = uri.partition("://")[0]
    try:
        return url_to_fs(uri)
    except ImportError as error:
        raise ImportError(f"{uri}: {scheme}:// needs a package that is not installed here: {error}") from None
    except ValueError as error:
        if "not known" not in str(error):  # the package's own complaint, such as of a name that holds no bucket
            raise ValueError(f"{uri}: {error}") from None
        raise ValueError(
            f"{uri}: expected a local path, s3://, or a scheme that fsspec reads (gs://, az://, hf://, https://)"
        ) from None


def read_other(uri: str) -> bytes:
    """All bytes of a file that fsspec reads, in one request; raises as `asked`."""
    system, path = other(uri)
    return bytes(asked(uri, partial(system.cat_file, path)))


def asked(uri: str, request: Callable[[], Result]) -> Result:
    """What fsspec answers to a request, asked TRIES times: its file systems for HTTP do not try again themselves.

    Raises:
        FileNotFoundError, PermissionError: so the store says. OSError: all else.
    """
    for attempt in range(TRIES):
        try:
            return request()
        except (PermissionError, NotADirectoryError, ImportError):
            raise
        except Exception as raised:  # each package has classes of its own
            error = _beneath(raised)
            if isinstance(error, FileNotFoundError):
                raise error from None
            if getattr(error, "status", None) in (401, 403):
                raise PermissionError(f"{uri}: {error}") from None
            if attempt == TRIES - 1:
                raise OSError(f"{uri}: {type(error).__name__}: {error}") from error
        time.sleep(PAUSE * 2**attempt)
    raise AssertionError("unreachable")


def _beneath(error: Exception) -> BaseException:
    """What is the matter: fsspec's HTTP says of all that a file is not found, also where nobody answers."""
    cause = error.__cause__
    of_web = isinstance(cause, OSError) or type(cause).__module__.partition(".")[0] == "aiohttp"
    if cause is None or not isinstance(error, FileNotFoundError) or isinstance(cause, FileNotFoundError) or not of_web:
        return error
    return error if getattr(cause, "status", None) in (404, 410) else cause


class Ranges:
    """A file any part of which can be read, by many threads at a time.

    Args:
        version: another one where the file's content is another one.
        read: bytes out of a start and a number of bytes that lie inside the file.
    """

    def __init__(self, uri: str, size: int, version: str, read: Callable[[int, int], bytes]) -> None:
        self.uri, self.size, self.version, self._read = uri, size, version, read

    def read(self, start: int, count: int) -> bytes:
        """At most `count` bytes: fewer where the file ends.

        Raises:
            OSError: they could not be had.
        """
        count = max(0, min(count, self.size - start))
        data = self._read(start, count) if count else b""
        if len(data) != count:
            raise OSError(f"{self.uri}: {len(data)} bytes came where {count} were asked for, from {start} on; is the "
                          "file whole, and does its server answer requests for a part (Range)?")  # fmt: skip
        return data


def ranges(uri: str) -> Ranges:
    """A file to be read in parts. In S3 it is one and the same object throughout, or an error.

    Raises:
        FileNotFoundError, PermissionError, OSError: it cannot be read.
    """
    if is_s3(uri):
        return _in_s3(uri)
    if not has_scheme(uri):
        return _on_disk(uri)
    system, path = other(uri)
    told = asked(uri, partial(system.info, path))
    if told.get("size") is None:
        raise OSError(f"{uri}: its server does not say how long it is: parts of it cannot be asked for; copy it first")
    version = asked(uri, partial(system.ukey, path))
    return Ranges(uri, int(told["size"]), str(version), lambda start, count: bytes(
        asked(uri, partial(system.cat_file, path, start=start, end=start + count))))  # fmt: skip


def _on_disk(path: str) -> Ranges:
    file = open(path, "rb")  # noqa: SIM115  # as long as these ranges are used
    status = os.fstat(file.fileno())

    def read(start: int, count: int) -> bytes:
        parts = []
        while count and (part := os.pread(file.fileno(), count, start)):  # of a pipe size it gives 2 GiB at a time
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    return Ranges(path, status.st_size, f"{status.st_mtime_ns} {status.st_ino}", read)


def _in_s3(uri: str) -> Ranges:
    with _s3_errors(uri):
        stored = s3.stored(uri)
    client, bucket, key = s3.client_of(uri)

    def read(start: int, count: int) -> bytes:
        with _s3_errors(uri):
            part = {"Range": f"bytes={start}-{start + count - 1}", "IfMatch": stored.etag}
            return s3.fetched(client, Bucket=bucket, Key=key, **part)[1]

    return Ranges(uri, stored.size, stored.etag, read)


@contextlib.contextmanager
def _s3_errors(uri: str) -> Iterator[None]:
    """botocore's errors as Python's own."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if code == "PreconditionFailed":
            raise OSError(f"{uri}: changed while it was being read; start again when it stays as it is") from None
        raise OSError(f"{uri}: {error}") from None
    except BotoCoreError as error:
        raise OSError(f"{uri}: {error}") from None
