"""Blocks: named by what they are made of, there when they are whole."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pytest

from dermray import storage
from dermray.datasets.blocks import Block, digest, remove_others, rows_in, write_block
from dermray.datasets.folder import SourceConfig
from dermray.datasets.isic_2019 import to_row

ONE = """
from functools import partial
from dermray.datasets.blocks import digest
from dermray.datasets.folder import SourceConfig
from dermray.datasets.isic_2019 import to_row
print(digest(partial(to_row, labels={"b": {"x": "1"}, "a": {}}), SourceConfig(path="p"), {*"qrst"}, (1, None)))
"""


def test_the_same_is_named_alike_in_every_process() -> None:
    names = {
        subprocess.check_output([sys.executable, "-c", ONE], env=os.environ | {"PYTHONHASHSEED": seed}, text=True)
        for seed in ("1", "2")
    }
    here = digest(partial(to_row, labels={"a": {}, "b": {"x": "1"}}), SourceConfig(path="p"), {*"tsrq"}, (1, None))
    assert names == {here + "\n"}


def test_what_differs_is_named_differently() -> None:
    said = [
        (to_row,), (partial(to_row, labels={}),), (partial(to_row, labels={"a": {"b": ""}}),),
        (partial(to_row, labels={"b": {"a": ""}}),), (SourceConfig(path="p"),), (SourceConfig(path="q"),),
        (1, 2), (12,), ("1", 2), ([1, 2],), (),
    ]  # fmt: skip
    assert len({digest(*values) for values in said}) == len(said)


def test_a_block_is_whole_or_not_there(place: str) -> None:
    schema, file = pa.schema([("a", pa.int64())]), storage.join(place, "x.parquet")

    def tables(fail: bool) -> Iterator[pa.Table]:
        yield pa.table({"a": [1, 2]}, schema)
        if fail:
            raise OSError("gone")
        yield pa.table({"a": [3]}, schema)

    with pytest.raises(OSError, match="gone"):
        write_block(file, tables(fail=True), schema)
    assert rows_in(file) is None and not storage.exists(file)
    assert write_block(file, tables(fail=False), schema) == 3 == rows_in(file)
    empty, cut = storage.join(place, "empty.parquet"), storage.join(place, "cut.parquet")
    assert write_block(empty, [], schema) == 0 == rows_in(empty)
    storage.write_bytes(cut, storage.read_bytes(file)[:-9])
    assert rows_in(cut) is None, "a machine lost its power"
    storage.write_bytes(storage.join(place, "y.parquet.0.partial"), b"x")
    assert remove_others(place, [Block("x", 3)]) == 2
    assert storage.list_files(place) == [file]
