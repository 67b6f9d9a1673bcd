"""Values read by the page index, against pyarrow's own reading of the column."""

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermray.page_index import CODECS, PagedColumn, write_options
from dermray.thrift import Reader

SCHEMA = pa.schema([("sample_id", pa.string()), ("image", pa.binary()), ("status", pa.string())])
# pages of several values, of one, of null ones alone, and of values beside null ones
VALUES = st.lists(st.none() | st.integers(0, 3000).map(lambda size: bytes(range(256)) * (size // 256 + 1)), max_size=80)


def table(values: Sequence[bytes | None]) -> pa.Table:
    ids = [f"{i:064x}" for i in range(len(values))]
    return pa.table({"sample_id": ids, "image": values, "status": ["ok"] * len(values)}, schema=SCHEMA)


def opened(data: bytes) -> PagedColumn | None:
    return PagedColumn.open(pa.BufferReader(data), pq.ParquetFile(io.BytesIO(data)), "image")


def written(values: Sequence[bytes | None], **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table(values), sink, **(write_options(SCHEMA) | options))
    return sink.getvalue()


@settings(deadline=None, max_examples=60)
@given(VALUES, st.sampled_from(CODECS), st.integers(1, 100), st.data())
def test_any_rows_are_what_pyarrow_reads(
    values: list[bytes | None], codec: str, group: int, data: st.DataObject
) -> None:
    column = opened(written(values, compression=codec.replace("UNCOMPRESSED", "NONE"), row_group_size=group))
    if not values:
        assert column is None
        return
    assert column is not None
    rows = sorted(data.draw(st.sets(st.integers(0, len(values) - 1))))
    found = [value for request in column.requests(rows) for value in column.values(request)]
    assert found == [(row, values[row]) for row in rows]


def test_an_image_is_a_page_and_neighbours_are_one_request() -> None:
    column = opened(written([bytes([i]) * 2000 for i in range(50)], compression="NONE"))
    assert column is not None and len(column.pages) == 50
    assert all(2000 < page.size < 2100 for page in column.pages)
    assert list(column.requests([0, 1, 2, 7, 9, 10])) == [[0, 1, 2], [7], [9, 10]]


def test_a_request_is_8_mib_or_one_image() -> None:
    column = opened(written([bytes(3 << 20)] * 5 + [bytes(9 << 20)], compression="NONE"))
    assert column is not None
    assert list(column.requests([0, 1, 2, 3, 4, 5])) == [[0, 1], [2, 3], [4], [5]]


@pytest.mark.parametrize("options", [{"write_page_index": False}, {"use_dictionary": True}, {"compression": "LZ4"}])
def test_files_of_another_layout_are_none_of_ours(options: dict[str, object]) -> None:
    assert opened(written([b"a" * 3000] * 9, **options)) is None


def test_damage_is_said() -> None:
    data = written([b"a" * 3000] * 9, compression="NONE")
    column = opened(data)
    assert column is not None
    place = column.pages[4]
    for at in range(place.size - 3000):  # of its header, levels and length
        broken = bytearray(data)
        broken[place.offset + at] ^= 0x7F
        damaged = PagedColumn(pa.BufferReader(bytes(broken)), column.codec, column.pages)
        try:
            [(_, value)] = damaged.values([4])
        except ValueError:
            continue
        assert value in (b"a" * 3000, None)


def test_thrift_of_the_specification() -> None:
    # fields 1: i32 -1, 3: true, 20: binary, 21: double 0.5, 22: list of 3 bools; then the end
    data = bytes([0x15, 0x01, 0x21, 0x08, 40, 2]) + b"hi" + bytes([0x17, *bytes(6), 0xE0, 0x3F, 0x19, 0x31, 1, 2, 1, 0])
    assert Reader(data).struct() == {1: -1, 3: True, 20: b"hi", 21: 0.5, 22: [True, False, True]}
    assert Reader(bytes([0xAC, 0x02])).unsigned() == 300 and Reader(bytes([0xD7, 0x04])).signed() == -300
    for cut in range(len(data)):
        with pytest.raises(ValueError, match="expected"):
            Reader(data[:cut]).struct()
