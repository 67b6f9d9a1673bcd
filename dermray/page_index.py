"""Parquet out of which single images can be read: how it is written, and reading a column's values by the page index.

A column is a chain of pages, and pyarrow (26) reads them all, however few rows are wanted. The page index says where
each lies: pyarrow writes it, but cannot read by it. Format: github.com/apache/parquet-format, README.md, Encodings.md
and src/main/thrift/parquet.thrift, whose numbers of fields these are.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dermray.thrift import Reader

AT_ONCE = 8 << 20  # bytes: neighbouring pages are one request up to here
CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "BROTLI", "ZSTD")  # Parquet's LZ4 is framed in a way of its own
STATISTICS = ("status", "reason", "split", "origin")  # small, and filtered by; an image's would be the image itself


def write_options(schema: pa.Schema) -> dict[str, Any]:
    """Arguments of `pq.ParquetWriter` and of Ray Data's `write_parquet`, for rows with an `image`.

    A page ends with the value that fills it, so images from 1 KiB on have one each. The other columns take no more room
    than in pages of pyarrow's default size, 1 MiB: 279 bytes a captioned row here, 284 there.
    """
    return {
        "write_page_index": True,
        "data_page_size": 1024,  # bytes
        "write_batch_size": 1,  # values after which a page's size is looked at
        "use_dictionary": [name for name in schema.names if name not in ("image", "sample_id")],
        "write_statistics": [name for name in schema.names if name in STATISTICS],
    }


class Page(NamedTuple):
    """Where a page lies."""

    offset: int
    size: int  # bytes, of header and content
    first_row: int  # of the file


@dataclass(frozen=True)
class PagedColumn:
    """A column of one file, whose values can be read one by one."""

    source: pa.NativeFile
    codec: str
    pages: list[Page]

    @classmethod
    def open(cls, source: pa.NativeFile, file: pq.ParquetFile, name: str) -> "PagedColumn | None":
        """None where the file is not as `write_options` says, because an earlier version wrote it."""
        footer, paths = file.metadata, [column.path for column in file.schema]
        if name not in paths or file.schema.column(paths.index(name)).max_definition_level != 1:
            return None
        number = paths.index(name)
        chunks = [footer.row_group(group).column(number) for group in range(footer.num_row_groups)]
        codecs = {chunk.compression for chunk in chunks}
        indexed = all(chunk.has_offset_index and not chunk.has_dictionary_page for chunk in chunks)
        if not indexed or len(codecs) != 1 or not codecs <= set(CODECS):
            return None
        return cls(source, codecs.pop(), list(_pages(source, footer, number)))

    def requests(self, rows: list[int]) -> Iterator[list[int]]:
        """Some rows of the file, given in ascending order, in parts that lie on neighbouring pages of AT_ONCE bytes in
        all, or on one page: for `values`."""
        request: list[int] = []
        for row in rows:
            if request:
                first, last, page = (self._page(each) for each in (request[0], request[-1], row))
                end = self.pages[page].offset + self.pages[page].size
                if page > last + 1 or (page > last and end - self.pages[first].offset > AT_ONCE):
                    yield request
                    request = []
            request.append(row)
        if request:
            yield request

    def values(self, request: list[int]) -> Iterator[tuple[int, bytes | None]]:
        """Each row of a request, and its value. Reads once, from the first row's page to the last row's.

        Raises:
            ValueError: the file is damaged.
        """
        first, last = self.pages[self._page(request[0])], self.pages[self._page(request[-1])]
        data = self.source.read_at(last.offset + last.size - first.offset, first.offset)
        for number, rows in groupby(request, self._page):
            page = self.pages[number]
            begin = page.offset - first.offset
            values = _values(data[begin : begin + page.size], self.codec)
            yield from ((row, values[row - page.first_row]) for row in rows)

    def _page(self, row: int) -> int:
        return bisect_right(self.pages, row, key=lambda page: page.first_row) - 1


def _pages(source: pa.NativeFile, footer: pq.FileMetaData, number: int) -> Iterator[Page]:
    """All pages of column `number`."""
    sink, first_row = pa.BufferOutputStream(), 0
    footer.write_metadata_file(sink)  # pyarrow tells all of it but where the indexes lie
    for group in Reader(sink.getvalue().to_pybytes(), len(b"PAR1")).struct()[4]:  # FileMetaData.row_groups
        chunk = group[1][number]  # RowGroup.columns
        index = Reader(source.read_at(chunk[5], chunk[4])).struct()  # ColumnChunk.offset_index_length, _offset
        for place in index[1]:  # OffsetIndex.page_locations
            yield Page(place[1], place[2], first_row + place[3])
        first_row += group[3]  # RowGroup.num_rows


def _values(page: bytes, codec: str) -> list[bytes | None]:
    """A data page: which values are null, then the lengths and bytes of the others."""
    reader = Reader(page)
    header = reader.struct()
    match header:  # PageHeader: type, sizes; in it DataPageHeader: number of values, encodings of them and of levels
        case {1: 0, 2: int(size), 3: int(compressed), 5: {1: int(count), 2: 0, 3: 3}}:  # DATA_PAGE, PLAIN, RLE
            content = reader.take(compressed)
        case _:
            raise ValueError(f"page with header {header}: expected a plain data page of version 1; the file is damaged")
    if codec != "UNCOMPRESSED":
        content = pa.decompress(content, decompressed_size=size, codec=codec.lower(), asbytes=True)
    reader = Reader(content)
    there = _levels(reader.take(_length(reader)), count)
    values = [reader.take(_length(reader)) if valid else None for valid in there]
    if reader.at != len(content):
        raise ValueError(f"page of {count} values: {len(content) - reader.at} bytes are left over; the file is damaged")
    return values


def _length(reader: Reader) -> int:
    return int.from_bytes(reader.take(4), "little")


def _levels(data: bytes, count: int) -> list[int]:
    """Bits, in runs of one value or in groups of eight, the lowest first."""
    reader, levels = Reader(data), list[int]()
    while len(levels) < count:
        head = reader.unsigned()
        if head & 1:
            levels += [byte >> bit & 1 for byte in reader.take(head >> 1) for bit in range(8)]
        else:
            levels += [reader.take(1)[0]] * (head >> 1)
    return levels[:count]
