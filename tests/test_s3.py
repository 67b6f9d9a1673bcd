"""Requests to S3 that fail, whose answers are lost, and that are spared."""

import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray import s3, storage
from dermray.records import read_columns
from dermray.storage import OutputTaken
from tests.conftest import free_port
from tests.faulty_s3 import FaultyS3, faulty


@pytest.fixture
def proxy(s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    with faulty(s3_server) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        yield between


def test_both_clients_bear_an_outage_of_many_requests(proxy: FaultyS3, bucket: str) -> None:
    """So many that a budget of retries for the whole process, as AWS's own clients have, is used up."""
    storage.write_bytes(f"{bucket}/x", b"data")
    proxy.out(5)
    read = list[Any]()
    client, name, key = s3.client_of(f"{bucket}/x")
    threads = [
        threading.Thread(target=lambda: read.append(s3.fetched(client, Bucket=name, Key=key)[1])) for _ in range(40)
    ]
    threads += [threading.Thread(target=lambda: read.append(storage.read_bytes(f"{bucket}/x"))) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [b"data"] * 80


def test_an_error_that_is_longer_than_what_was_asked_for_is_borne(proxy: FaultyS3, bucket: str) -> None:
    storage.write_bytes(f"{bucket}/x", b"tiny")
    table = pa.table({"n": [1, 2]})
    system, path = storage.filesystem(f"{bucket}/rows/a.parquet")
    pq.write_table(table, path, filesystem=system)
    proxy.share_of_errors = 0.3
    assert [storage.read_bytes(f"{bucket}/x") for _ in range(8)] == [b"tiny"] * 8
    assert [read_columns(f"{bucket}/rows", ["n"]) for _ in range(4)] == [table] * 4
    assert proxy.failed > 5


def test_a_file_whose_answer_was_lost_is_created_once(proxy: FaultyS3, bucket: str) -> None:
    lost = iter([True])

    def lose_the_answer(kind: str, *_: Any) -> None:
        if kind == "PutObject" and next(lost, False):
            raise ConnectionError

    proxy.answered = lose_the_answer
    storage.create(f"{bucket}/x", b"mine")
    assert proxy.requests["PutObject", "x"] == 2
    with pytest.raises(OutputTaken, match="another writer was first"):
        storage.create(f"{bucket}/x", b"another's")
    assert storage.read_bytes(f"{bucket}/x") == b"mine"


def test_a_wrong_address_is_told_of_at_once(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.require_reachable(bucket)
    s3.require_reachable("s3://another-bucket-than-this")  # somebody answered
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ConnectionError, match="S3 gave no answer .* 3 tries .*check AWS_ENDPOINT_URL"):
        s3.require_reachable(bucket)


def test_many_objects_are_deleted_with_a_request_a_thousand(proxy: FaultyS3, bucket: str) -> None:
    for name in "abc":
        storage.write_bytes(f"{bucket}/{name}", b"")
    proxy.requests.clear()
    storage.delete_files([f"{bucket}/a", f"{bucket}/b", *(f"{bucket}/none-{i}" for i in range(1200))])
    assert proxy.total == 2
    assert storage.list_files(bucket) == [f"{bucket}/c"]
