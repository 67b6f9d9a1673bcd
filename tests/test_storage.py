import threading
from pathlib import Path

import pytest

from dermray import storage


def test_bytes_round_trip_and_listing(place: str) -> None:
    storage.write_bytes(f"{place}/a/b.txt", b"one")
    storage.write_bytes(f"{place}/a/b.txt", b"two")
    assert storage.read_bytes(f"{place}/a/b.txt") == b"two"
    assert storage.exists(f"{place}/a/b.txt") and not storage.exists(f"{place}/a/c.txt")
    assert storage.list_files(place) == [f"{place}/a/b.txt"]
    storage.delete_tree(f"{place}/a")
    storage.delete_tree(f"{place}/a")
    assert storage.list_files(place) == []


def test_of_concurrent_creators_exactly_one_wins(place: str) -> None:
    won: list[int] = []
    lost: list[int] = []
    start = threading.Barrier(8)

    def contend(number: int) -> None:
        start.wait()
        try:
            storage.create(f"{place}/manifest.json", str(number).encode())
            won.append(number)
        except storage.OutputTaken:
            lost.append(number)

    threads = [threading.Thread(target=contend, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(lost) == 7
    assert storage.read_bytes(f"{place}/manifest.json") == str(won[0]).encode()
    assert len(storage.list_files(place)) == 1, "no partial file stays"


def test_a_claim_keeps_others_out_and_ends(place: str) -> None:
    with storage.claim(f"{place}/claim"):
        with pytest.raises(storage.OutputTaken, match="another run"), storage.claim(f"{place}/claim"):
            pass
    with storage.claim(f"{place}/claim"):
        pass


def test_a_dead_writers_s3_claim_expires(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.create(f"{bucket}/claim", storage._claim_body("dead"))
    with pytest.raises(storage.OutputTaken, match="if it was killed"), storage.claim(f"{bucket}/claim"):
        pass
    monkeypatch.setattr(storage, "CLAIM_SECONDS", 0)
    storage._take_s3_claim(f"{bucket}/claim", "heir")
    assert b"heir" in storage.read_bytes(f"{bucket}/claim")


def test_a_directory_is_copied_between_any_two_places(place: str, bucket: str, tmp_path: Path) -> None:
    files = {"a": b"1", "deep/b c+d": bytes(3_000_000), "empty": b""}
    for name, data in files.items():
        storage.write_bytes(f"{place}/from/{name}", data)
    storage.copy_directory(f"{place}/from", f"{bucket}/there/to")
    storage.copy_directory(f"{bucket}/there/to", str(tmp_path / "back"))
    for target in (f"{bucket}/there/to", str(tmp_path / "back")):
        assert {n.removeprefix(f"{target}/"): storage.read_bytes(n) for n in storage.list_files(target)} == files
    with pytest.raises(FileNotFoundError, match="none"):
        storage.copy_directory(f"{place}/none", f"{bucket}/there/none")


def test_what_is_downloaded_is_what_was_listed(bucket: str, tmp_path: Path) -> None:
    storage.write_bytes(f"{bucket}/model/w.bin", b"old")
    listed = storage.objects(f"{bucket}/model")
    storage.write_bytes(f"{bucket}/model/w.bin", b"new")
    with pytest.raises(OSError, match="changed while it was being copied"):
        storage.download(f"{bucket}/model", listed, tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        storage.stored(f"{bucket}/model/none")


def test_a_name_that_leads_out_of_its_directory_is_refused(bucket: str) -> None:
    import boto3

    boto3.client("s3").put_object(Bucket=bucket.removeprefix("s3://"), Key="model/../../w.bin", Body=b"w")
    with pytest.raises(ValueError, match="no path below a directory"):
        storage.objects(f"{bucket}/model")


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ValueError, match="set AWS_ACCESS_KEY_ID"):
        storage.exists("s3://bucket/x")


def test_unknown_schemes_and_unwritable_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="s3:// URI"):
        storage.normalise("gs://bucket/x")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="choose another output"):
        storage.make_directory(str(tmp_path / "file" / "below"))
