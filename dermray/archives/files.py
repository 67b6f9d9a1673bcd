"""Python's file objects over files that are read in parts, for the libraries that read archives."""

import io
import os

from dermray.stores import Ranges


class RangeFile(io.RawIOBase):
    """Part of a file, from `start` on, as a file of its own."""

    def __init__(self, ranges: Ranges, start: int = 0, size: int | None = None) -> None:
        self.ranges, self.start, self.place = ranges, start, 0
        self.size = ranges.size - start if size is None else size

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
        place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence]
        if place < 0:
            raise OSError(f"{self.ranges.uri}: place {place} lies before the file's start")
        self.place = place
        return place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """The next bytes."""
        data = self.ranges.read(self.start + self.place, max(0, min(len(buffer), self.size - self.place)))
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)


def buffered(ranges: Ranges, size: int, start: int = 0, length: int | None = None) -> io.BufferedReader:
    """The same, which asks for `size` bytes at a time."""
    return io.BufferedReader(RangeFile(ranges, start, length), size)
