"""Files that are there when they are whole, on a disk and in S3."""

import os
from pathlib import Path

import pytest

from dermray import s3, storage, whole_file
from tests.faulty_s3 import faulty


def test_a_file_is_there_when_its_writer_has_ended(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_file, "PART", 5 << 20)  # as little as S3 takes
    uri, data = storage.join(place, "a", "b.bin"), os.urandom(12 << 20)
    for size in (len(data), 1000, 0):  # three parts, one request, nothing
        before = storage.read_bytes(uri) if storage.exists(uri) else None
        with whole_file.whole_file(uri) as file:
            for start in range(0, size, 1 << 20):
                assert file.tell() == start
                file.write(memoryview(data)[start : min(size, start + (1 << 20))])
            assert (storage.read_bytes(uri) if storage.exists(uri) else None) == before
        assert storage.read_bytes(uri) == data[:size]
    assert storage.list_files(place) == [uri]


@pytest.mark.parametrize("written", [100, 11 << 20])
def test_one_that_fails_leaves_what_was_there(place: str, written: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_file, "PART", 5 << 20)
    uri = storage.join(place, "b.bin")
    storage.write_bytes(uri, b"before")
    with pytest.raises(ZeroDivisionError), whole_file.whole_file(uri) as file:
        assert file.write(bytes(written)) / 0
    assert storage.read_bytes(uri) == b"before" and storage.list_files(place) == [uri]
    if storage.is_s3(place):
        client, bucket, _ = s3.client_of(uri)
        assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads"), "which would be paid for"


def test_a_small_file_is_one_request(s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with whole_file.whole_file(f"{bucket}/a.bin") as file:
            file.write(b"x" * (1 << 20))
        assert proxy.total == 1


def test_a_killed_writer_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        with whole_file.whole_file(str(tmp_path / "a.parquet")) as file:
            file.write(b"x")
            os._exit(9)
    os.waitpid(child, 0)
    assert [file.suffix for file in tmp_path.iterdir()] == [".partial"]
