"""Parquet files in S3, read with fewer requests than by pyarrow's own file system."""

import io
import os
from typing import Any

import pyarrow as pa
from pyarrow import fs

from dermray import s3

END = 1 << 17  # bytes: footer and narrow columns of a block of 256 captions; S3 sends them in 2 ms


class EndFirst(io.RawIOBase):
    """An object to be read here and there, whose last END bytes and size come with one request.

    In a Parquet file these are its footer and, behind the images, the narrow columns of a block of rows. pyarrow's own
    file asks for the size, then for the footer, then for each column.

    Raises:
        FileNotFoundError: none is there. OSError: it has changed since.
    """

    def __init__(self, uri: str) -> None:
        self.uri, self.place = uri, 0
        self.client, bucket, key = s3.client_of(uri)
        self.named = {"Bucket": bucket, "Key": key}
        try:
            answer, self.end = s3.fetched(self.client, **self.named, Range=f"bytes=-{END}")
        except self.client.exceptions.NoSuchKey:
            raise FileNotFoundError(f"{uri}: no such file") from None
        except self.client.exceptions.ClientError as error:  # such as an empty object's, which has no end
            raise OSError(f"{uri}: {error}") from None
        self.named["IfMatch"] = answer["ETag"]
        self.size = int(answer["ContentRange"].rpartition("/")[2]) if "ContentRange" in answer else len(self.end)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place that is read next."""
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go there."""
        self.place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence]
        return self.place

    def read(self, size: int = -1) -> bytes:
        """The next bytes; those before the end cost a request."""
        start = self.place
        self.place = self.size if size < 0 else min(start + size, self.size)
        known = self.size - len(self.end)
        if start >= known:
            return self.end[start - known : self.place - known]
        try:
            _, part = s3.fetched(self.client, **self.named, Range=f"bytes={start}-{min(self.place, known) - 1}")
        except self.client.exceptions.ClientError as error:
            raise OSError(f"{self.uri}: {error}") from None  # 412 where it has changed
        return part + self.end[: max(0, self.place - known)]


class ParquetReading(fs.FileSystemHandler):
    """A file system to read Parquet files from; each is an `EndFirst`. It travels to workers."""

    def get_type_name(self) -> str:
        """What pyarrow shows it as."""
        return "s3-parquet"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ParquetReading)

    __hash__ = None  # type: ignore[assignment]  # pyarrow compares handlers and does not hash them

    def open_input_file(self, path: str) -> pa.NativeFile:
        """To be read here and there."""
        return pa.PythonFile(EndFirst(f"s3://{path}"), mode="r")

    open_input_stream = open_input_file

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        """Kind and size of each."""
        return self._plain().get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        """The same of what lies in a directory."""
        return self._plain().get_file_info(selector)

    def normalize_path(self, path: str) -> str:
        """As it is."""
        return path

    def _plain(self) -> fs.S3FileSystem:
        return s3.clients("s3://")[1]

    def _read_only(self, *_: Any, **__: Any) -> Any:
        raise io.UnsupportedOperation("this file system is for reading; write by storage.filesystem")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _read_only
    move = copy_file = open_output_stream = open_append_stream = _read_only
