"""A store that fails: what will pass is borne for a while, all else is told at once, and nothing is half-written.

The S3 server is a process of its own, and its faults are answers of a proxy before it.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dermray import claims, manifest, patience, s3, storage, store_errors
from dermray.config import Config
from dermray.failures import plain_cause
from dermray.manifest import Rows
from dermray.train_loop import snapshot, trainer
from dermray.whole_file import PART, whole_file
from tests.faulty_s3 import SLOW_DOWN, FaultyS3, Refusal, faulty

PATIENCE = 0.4  # seconds
DENIED = Refusal(403, "AccessDenied", "Access Denied.")
FULL = Refusal(507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.")
TOLD = {  # what a user must mend, and what they are told to do
    DENIED: "give these credentials the right to read, write, list and delete there",
    FULL: "make room there or raise its quota",
    Refusal(403, "QuotaExceeded", "Quota exceeded."): "make room there or raise its quota",
    Refusal(400, "ExpiredToken", "The provided token has expired."): "renew the credentials",
    Refusal(403, "InvalidAccessKeyId", "No such key."): "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    Refusal(404, "NoSuchBucket", "No such bucket."): "create the bucket or correct the address",
}
TABLE = pa.table({"n": list(range(1000))})


@pytest.fixture
def proxy(s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    with faulty(s3_server) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        monkeypatch.setenv(patience.VARIABLE, str(PATIENCE))
        yield between


def _mended(proxy: FaultyS3) -> None:
    proxy.refuses = lambda kind, key: None
    proxy.out_until = proxy.clock_ahead = proxy.latency = 0.0
    proxy.heeds_conditions = True


def _large(uri: str) -> None:
    with whole_file(uri) as file:
        file.write(bytes(PART))
        file.write(b"end")


def _parquet(uri: str) -> None:
    system, path = storage.filesystem(uri)
    pq.write_table(TABLE, path, filesystem=system)


def _directory(uri: str, tmp_path: Path) -> None:
    (tmp_path / "from").mkdir(exist_ok=True)
    (tmp_path / "from" / "w.bin").write_bytes(bytes(1000))
    storage.copy_directory(str(tmp_path / "from"), uri)


def _checkpoint(uri: str, tmp_path: Path) -> None:
    from ray.train import Checkpoint

    (tmp_path / "local").mkdir(exist_ok=True)
    (tmp_path / "local" / "w.bin").write_bytes(bytes(1000))
    trainer._uploaded(uri, storage.filesystem(uri)[0], Checkpoint.from_directory(tmp_path / "local"), "checkpoint_1")


# The ways in which stages write to S3: botocore, pyarrow's streams (Ray Data's too), s3transfer, Ray Train's.
ROADS: dict[str, Callable[[str, Path], None]] = {
    "create": lambda uri, _: storage.create(f"{uri}/x", b"data"),
    "write_bytes": lambda uri, _: storage.write_bytes(f"{uri}/x", b"data"),
    "whole_file": lambda uri, _: _large(f"{uri}/x"),
    "parquet": lambda uri, _: _parquet(f"{uri}/x"),
    "directory": _directory,
    "checkpoint": _checkpoint,
}
CLIENTS = ("create", "write_bytes")  # one of each
PASSING = {
    "500": Refusal(500, "InternalError", "Try again."),
    "503": SLOW_DOWN,
    "closed": None,  # connections end without an answer
    "reset": None,
}


def _fails(write: Callable[[], Any]) -> str:
    """What the command line would say."""
    with pytest.raises(Exception) as raised:  # noqa: PT011  # any, as long as the right words are said
        write()
    return str(plain_cause(raised.value))


def _written(uri: str) -> dict[str, bytes]:
    return {file.removeprefix(uri): storage.read_bytes(file) for file in storage.list_files(uri)}


@pytest.mark.parametrize(
    ("road", "refusal"),
    [(road, refusal) for road in ROADS for refusal in TOLD if road in CLIENTS or refusal is FULL],
    ids=lambda given: given if isinstance(given, str) else given.code,
)
def test_what_a_user_must_mend_is_told_at_once(
    proxy: FaultyS3, bucket: str, tmp_path: Path, road: str, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(patience.VARIABLE, "60")  # which nothing waits for
    ROADS[road](f"{bucket}/good", tmp_path)
    proxy.refuses = lambda kind, key: refusal
    proxy.requests.clear()
    said = _fails(lambda: ROADS[road](f"{bucket}/bad", tmp_path))
    assert f"{TOLD[refusal]}, then start the same command again, which resumes" in said
    assert bucket.removeprefix("s3://") in said and "bad" in said
    assert max(proxy.requests.values()) == 1, "nothing is tried again"
    _mended(proxy)
    assert _written(f"{bucket}/bad") == {}
    ROADS[road](f"{bucket}/bad", tmp_path)
    assert _written(f"{bucket}/bad") == _written(f"{bucket}/good") != {}


@pytest.mark.parametrize(
    ("road", "fault"), [(road, fault) for road in ROADS for fault in PASSING if road in CLIENTS or fault == "503"]
)
def test_what_passes_is_borne_and_then_told(
    proxy: FaultyS3, bucket: str, tmp_path: Path, road: str, fault: str
) -> None:
    ROADS[road](f"{bucket}/good", tmp_path)
    proxy.resets, refusal = fault == "reset", PASSING[fault]
    proxy.refuses = lambda kind, key: refusal
    if refusal is None:
        proxy.out(60)
    began = time.monotonic()
    said = _fails(lambda: ROADS[road](f"{bucket}/bad", tmp_path))
    assert time.monotonic() - began >= PATIENCE
    assert "see whether the store is up" in said and "DERMRAY_S3_PATIENCE" in said and "which resumes" in said
    assert bucket.removeprefix("s3://") in said and "bad" in said
    _mended(proxy)
    assert _written(f"{bucket}/bad") == {}
    proxy.out(PATIENCE / 4)  # short enough to be borne
    ROADS[road](f"{bucket}/bad", tmp_path)
    assert _written(f"{bucket}/bad") == _written(f"{bucket}/good") != {}


def test_tries_and_seconds_are_told(proxy: FaultyS3, bucket: str) -> None:
    proxy.refuses = lambda kind, key: SLOW_DOWN
    with pytest.raises(store_errors.Passing, match=rf"^{bucket}/x: PutObject was refused .* after \d+ tries in \d+ s;"):
        storage.create(f"{bucket}/x", b"")
    assert proxy.requests["PutObject", "x"] > 2
    with pytest.raises(store_errors.Passing, match=rf"^{bucket}/x: .*SLOW_DOWN.* \(tried for 1 s\);"):
        storage.write_bytes(f"{bucket}/x", b"")


@pytest.mark.parametrize("size", [1000, PART + 1])
def test_a_file_whose_last_request_is_refused_is_not_taken_for_copied(
    proxy: FaultyS3, bucket: str, tmp_path: Path, size: int
) -> None:
    """pyarrow's copy_files, which Ray Train uses, returns as if it were there (26.0)."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(bytes(size))
    begun = list[str]()

    def refuse_the_last(kind: str, key: str) -> Refusal | None:
        begun.append(f"{kind} {key}")
        last = (
            "PutObject to/b" if size < PART else "POST to/b"
        )  # of an upload in parts: to begin it, and to complete it
        return FULL if begun.count(last) == (1 if size < PART else 2) and begun[-1] == last else None

    proxy.refuses = refuse_the_last
    with pytest.raises(OSError, match=f"{bucket}/to/b: .*make room there"):
        storage.copy_directory(str(tmp_path), f"{bucket}/to")
    _mended(proxy)
    assert not storage.exists(f"{bucket}/to/b")
    storage.copy_directory(str(tmp_path), f"{bucket}/to")
    assert {name: len(data) for name, data in _written(f"{bucket}/to").items()} == {"/a": size, "/b": size}


def test_ray_train_takes_an_uploaded_checkpoint_for_its_own(place: str, tmp_path: Path) -> None:
    from ray.train import Checkpoint
    from ray.train.v2._internal.execution.context import is_managed_checkpoint
    from ray.train.v2._internal.execution.storage import StorageContext

    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "w.bin").write_bytes(b"w")
    system, path = storage.filesystem(place)
    of_ray = StorageContext(path, snapshot.RUN, system)
    there = trainer._uploaded(place, system, Checkpoint.from_directory(tmp_path / "local"), "checkpoint_1")
    assert is_managed_checkpoint(of_ray, there)
    assert there.path == of_ray.build_checkpoint_path_from_name("checkpoint_1")
    assert storage.read_bytes(f"{place}/{snapshot.RUN}/checkpoint_1/w.bin") == b"w"


def test_others_may_read_what_was_copied_from_a_temporary_directory(tmp_path: Path) -> None:
    source = Path(tempfile.mkdtemp(dir=tmp_path))
    (source / "deep").mkdir(mode=0o700)
    (source / "deep" / "w.bin").write_bytes(b"w")
    storage.copy_directory(str(source), str(tmp_path / "to"))
    assert (tmp_path / "to" / "deep" / "w.bin").read_bytes() == b"w"
    (tmp_path / "usual").mkdir()
    assert {(tmp_path / name).stat().st_mode for name in ("to", "to/deep")} == {(tmp_path / "usual").stat().st_mode}


def test_a_slow_store_is_waited_for(proxy: FaultyS3, bucket: str) -> None:
    storage.write_bytes(f"{bucket}/x", b"data")
    proxy.latency = 3.5  # pyarrow's client by itself gives up after 3 s, each time it tries
    assert storage.exists(f"{bucket}/x")


def test_a_clock_that_is_off_is_measured(proxy: FaultyS3, bucket: str) -> None:
    for ahead, words in ((3600.0, "behind"), (-3600.0, "ahead of")):
        proxy.clock_ahead = ahead
        requests = (
            lambda: storage.create(f"{bucket}/x", b""),
            lambda: s3.stored(f"{bucket}/x"),  # an answer to HEAD does not say why
            lambda: s3.require_reachable(bucket),
        )
        for request in requests:
            with pytest.raises(OSError, match=rf"clock is 3(59|60)\d s {words} the store's; set this machine's clock"):
                request()
    _mended(proxy)
    storage.create(f"{bucket}/x", b"")


class Settings(Config):
    output: str


def _stage(output: str, before: Callable[[], None] = lambda: None) -> bytes:
    """A stage of one file; the bytes of its data."""
    with manifest.work("caption", output, Settings(output=output), {}) as work:
        if work.finished is None:
            storage.write_bytes(f"{work.data}/x", b"x")
            before()
            work.commit(Rows(rows_in=1, ok=1, rejected=0, failed=0), 1)
        assert work.finished is not None
        return storage.read_bytes(f"{work.finished.data}/x")


@pytest.mark.parametrize("refusal", [DENIED, SLOW_DOWN], ids=lambda refusal: refusal.code)
def test_a_manifest_that_cannot_be_written_is_no_result(proxy: FaultyS3, bucket: str, refusal: Refusal) -> None:
    def refuse() -> None:
        proxy.refuses = lambda kind, key: refusal if kind == "PutObject" and key.endswith("manifest.json") else None

    with pytest.raises(OSError, match=f"{bucket}/run/manifest.json: PutObject was refused .* resumes") as raised:
        _stage(f"{bucket}/run", refuse)
    assert raised.value.__notes__ == [f"the stage wrote to {bucket}/run, which keeps what was done"]
    _mended(proxy)
    with pytest.raises(FileNotFoundError, match="no finished result"):
        manifest.read(f"{bucket}/run")
    assert _stage(f"{bucket}/run") == b"x"
    assert manifest.read(f"{bucket}/run").manifest.rows.ok == 1


@pytest.mark.parametrize("status", [200, 501])
def test_a_store_without_conditional_writes_is_refused_before_work_begins(
    proxy: FaultyS3, bucket: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_HEEDED", set())
    proxy.heeds_conditions = False
    if status == 501:
        unknown = Refusal(501, "NotImplemented", "A header you provided is not implemented.")
        proxy.refuses = lambda kind, key: unknown if kind == "PutObject" else None
    with pytest.raises(RuntimeError, match="nothing was begun. Use a store, or a newer version of it, that knows cond"):
        _stage(f"{bucket}/run", lambda: pytest.fail("work began"))
    _mended(proxy)
    assert storage.list_files(bucket) == []
    assert _stage(f"{bucket}/run") == b"x"


def test_a_left_claim_says_nothing_of_what_the_store_heeds(
    proxy: FaultyS3, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store may have been copied, claims and all, to another."""
    with manifest.work("caption", f"{bucket}/run", Settings(output=f"{bucket}/run"), {}):
        pass  # unfinished: its claim stays, released
    monkeypatch.setattr(claims, "_HEEDED", set())
    proxy.heeds_conditions = False
    with pytest.raises(RuntimeError, match="this store ignores IfNoneMatch"):
        _stage(f"{bucket}/run", lambda: pytest.fail("work began"))


def test_a_store_that_is_busy_when_a_stage_starts_is_borne(
    proxy: FaultyS3, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(patience.VARIABLE, "30")
    left = iter(range(8))  # more than the impatient client of claims tries
    proxy.refuses = lambda kind, key: SLOW_DOWN if key.endswith("claim") and next(left, None) is not None else None
    assert _stage(f"{bucket}/run") == b"x"
    assert next(left, None) is None


@pytest.mark.parametrize("given", ["soon", "-1", "nan", "1e9"])
def test_a_patience_that_cannot_be_meant(given: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(patience.VARIABLE, given)
    with pytest.raises(ValueError, match=f"DERMRAY_S3_PATIENCE={given}: expected seconds from 0 to 86400"):
        storage.exists(f"{bucket}/x")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _save(uri: str) -> None:
    Path(uri).mkdir()
    torch.save({"weight": torch.zeros(200_000)}, f"{uri}/x")


LOCAL: dict[str, Callable[[str], Any]] = {
    "create": lambda uri: storage.create(f"{uri}/x", bytes(800_000)),
    "write_bytes": lambda uri: storage.write_bytes(f"{uri}/x", bytes(800_000)),
    "whole_file": lambda uri: _large(f"{uri}/x"),
    "torch": _save,
    "stage": lambda uri: _stage(uri, lambda: storage.write_bytes(f"{uri}/more", bytes(800_000))),
}


@pytest.mark.parametrize("road", LOCAL)
def test_a_full_disk(small_disk: Path, tmp_path: Path, road: str) -> None:
    said = _fails(lambda: LOCAL[road](str(small_disk / "out")))
    assert "make room there or raise its quota, then start the same command again, which resumes" in said
    if road != "torch":  # which does not say which file it is
        assert str(small_disk / "out") in said
        assert not [file for file in small_disk.rglob("*") if file.name.endswith((".partial", "manifest.json"))]
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    if road == "torch":
        (small_disk / "out" / "x").unlink()
        (small_disk / "out").rmdir()
    LOCAL[road](str(small_disk / "out"))


def test_a_disk_that_must_not_be_written_to(small_disk: Path) -> None:
    (small_disk / "out").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match=f"{small_disk}/out: .*choose another output"):
        _stage(str(small_disk / "out"), lambda: pytest.fail("work began"))
    with pytest.raises(PermissionError, match=f"{small_disk}/out/x: .*Read-only .* give this user the right"):
        storage.write_bytes(f"{small_disk}/out/x", b"")


def test_a_directory_of_another_user() -> None:
    """In a process of a user who has no rights, because root has all."""
    code = (
        "import os, sys; from dermray import storage\n"
        "os.getuid() or os.setuid(65534)\n"
        "try: storage.write_bytes(sys.argv[1] + '/x', b'')\n"
        "except PermissionError as error: print(error)"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # pytest's own is root's alone
        Path(directory).chmod(0o555)
        command = [sys.executable, "-c", code, directory]
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()}, check=False
        )
        assert f"{directory}/x: [Errno 13] Permission denied" in done.stdout, done.stderr
        assert "give this user the right to write there or choose another output" in done.stdout
        assert os.listdir(directory) == []
