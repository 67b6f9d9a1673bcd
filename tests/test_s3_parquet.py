"""Parquet files in S3, read with few requests."""

import pickle
import random
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import dataset

from dermray import storage
from dermray.s3_parquet import END, EndFirst
from tests.faulty_s3 import FaultyS3, faulty


@pytest.fixture
def proxy(s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    with faulty(s3_server) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        yield between


@pytest.mark.parametrize("size", [1, END, 3 * END + 7])
def test_an_object_read_from_its_end(proxy: FaultyS3, bucket: str, size: int) -> None:
    data = random.Random(0).randbytes(size)
    storage.write_bytes(f"{bucket}/x", data)
    file = EndFirst(f"{bucket}/x")
    for start, length in ((0, size), (size - 1, 5), (size // 2, size), (0, 1), (size // 3, 1), (size, 1)):
        assert file.seek(start) == start
        assert file.read(length) == data[start : start + length]
    proxy.requests.clear()
    file = EndFirst(f"{bucket}/x")
    file.seek(-min(size, 100), 2)
    assert file.read() == data[-100:] and proxy.total == 1
    storage.write_bytes(f"{bucket}/x", data + b"y")
    if size > END:
        file.seek(0)
        with pytest.raises(OSError, match="PreconditionFailed"):
            file.read(1)


def test_an_answer_cut_in_its_middle_is_asked_for_again(proxy: FaultyS3, bucket: str) -> None:
    data = random.Random(0).randbytes(2 * END)
    storage.write_bytes(f"{bucket}/x", data)
    proxy.cuts = 2
    file = EndFirst(f"{bucket}/x")
    assert proxy.cuts == 0 and file.end == data[-END:]
    proxy.cuts = 2
    assert file.read() == data and proxy.cuts == 0


def test_what_is_not_there_cannot_be_read_from_its_end(bucket: str) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        EndFirst(f"{bucket}/none")


def test_a_dataset_of_files_costs_a_request_a_file(proxy: FaultyS3, bucket: str) -> None:
    to, path = storage.filesystem(f"{bucket}/rows")
    for number in range(5):
        pq.write_table(pa.table({"n": [number, number + 10]}), f"{path}/{number}.parquet", filesystem=to)
    system = pickle.loads(pickle.dumps(storage.parquet_filesystem(f"{bucket}/rows")[0]))  # as it reaches workers
    files = [f"{path}/{number}.parquet" for number in range(5)]
    proxy.requests.clear()
    table = dataset.dataset(files, filesystem=system, format="parquet").to_table(filter=dataset.field("n") < 10)
    assert sorted(table["n"].to_pylist()) == list(range(5))
    assert set(proxy.requests) == {("GetObject", "rows/#.parquet")} and proxy.total <= 6  # the first for its schema
    with pytest.raises(OSError, match="for reading"):
        system.open_output_stream(f"{path}/x")
