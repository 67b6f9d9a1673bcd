"""Copies on a node: one download for all its processes, never stale, never half, never in the way."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dermray import node_cache, s3, s3_transfers, storage
from tests.proxies import CountingProxy
from tests.quickstart import wait_for

MB = 1_000_000
ctx = multiprocessing.get_context("fork")  # a process in milliseconds; boto3's clients are made in it


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, of which this process uses nothing."""
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DERMRAY_CACHE_GB", raising=False)
    monkeypatch.setattr(node_cache, "_in_use", in_use := dict[Path, int]())
    yield tmp_path / "cache"
    for lock in in_use.values():
        os.close(lock)


@pytest.fixture
def proxy(bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> CountingProxy:
    """Everybody's way to S3."""
    between = CountingProxy(s3_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
    return between


def write(uri: str, sizes: dict[str, int], content: bytes = b"w") -> str:
    for name, size in sizes.items():
        storage.write_bytes(f"{uri}/{name}", content * size)
    return uri


def started(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    process = ctx.Process(target=function, args=arguments)
    process.start()
    return process


def in_another_process(function: Callable[..., Any], *arguments: Any) -> None:
    """It has ended when this returns, and so uses nothing any more."""
    process = started(function, *arguments)
    process.join(60)
    assert process.exitcode == 0


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def test_eight_processes_cause_one_download(bucket: str, proxy: CountingProxy, cache: Path) -> None:
    model = write(f"{bucket}/model", {"a.bin": 10 * MB, "deep/b.bin": 10 * MB, "config.json": 2})
    ready, results = ctx.Barrier(8), ctx.Queue()

    def ask() -> None:
        ready.wait(60)
        copy = node_cache.local_copy(model)
        results.put((str(copy), (copy / "deep" / "b.bin").stat().st_size))

    processes = [started(ask) for _ in range(8)]
    answers = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(60)
    [(copy, size)] = answers
    assert size == 10 * MB and names(cache) == [Path(copy).name], "no partial is left"
    name = bucket.removeprefix("s3://")
    parts = {"a.bin": 2, "deep/b.bin": 2, "config.json": 1}  # of 8 MiB
    assert {file: proxy.count(f"GET /{name}/model/{file} ") for file in parts} == parts
    assert proxy.count(f"HEAD /{name}") == 0 and proxy.count(f"GET /{name}?list-type=2") == 8


def test_what_is_there_costs_one_request(bucket: str, proxy: CountingProxy) -> None:
    write(f"{bucket}/shards", {f"{i}.arrow": 10 + i for i in range(30)})
    wanted = [f"{i}.arrow" for i in range(20)]
    node_cache.local_copy(f"{bucket}/shards", wanted.__contains__)
    before, name = bytes(proxy.asked), bucket.removeprefix("s3://")
    copy = node_cache.local_copy(f"{bucket}/shards", wanted.__contains__)
    now = proxy.asked.removeprefix(before)
    assert now.count(f"GET /{name}".encode()) == 1 and now.count(b"HEAD ") == 0
    assert [(copy / file).stat().st_size for file in wanted] == [10 + i for i in range(20)]
    assert len(list(copy.iterdir())) == 20, "what was not asked for is not copied"


def test_a_copy_is_in_use_for_a_while(bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is, nothing takes its room; afterwards it stays until somebody needs it."""
    monkeypatch.setenv("DERMRAY_CACHE_GB", str(2 * MB / 1e9))
    write(f"{bucket}/shards", dict.fromkeys(("a", "b", "c"), MB))
    with node_cache.in_use(f"{bucket}/shards/a") as a, node_cache.in_use(f"{bucket}/shards/b"):
        with pytest.raises(node_cache.NoRoom), node_cache.in_use(f"{bucket}/shards/c"):
            pass
        assert a.stat().st_size == MB
    assert len(names(cache)) == 2
    with node_cache.in_use(f"{bucket}/shards/c") as c:
        assert c.read_bytes() == b"w" * MB and len(names(cache)) == 2 and not a.exists()


def test_a_copy_between_places_in_s3_passes_nothing_through_here(bucket: str, proxy: CountingProxy) -> None:
    write(f"{bucket}/run/checkpoint/model", {"w.bin": MB, "deep/config.json": 2})
    storage.copy_directory(f"{bucket}/run/checkpoint/model", f"{bucket}/model")
    assert proxy.count(f"GET /{bucket.removeprefix('s3://')}/run/") == 0
    assert storage.read_bytes(f"{bucket}/model/w.bin") == b"w" * MB


def test_replaced_weights_are_another_copy(bucket: str) -> None:
    """Of the same names and sizes too."""
    model = write(f"{bucket}/model", {"w.bin": 1000}, b"1")
    first, one = node_cache.local_copy(model), node_cache.local_file(f"{model}/w.bin")
    write(model, {"w.bin": 1000}, b"2")
    assert node_cache.local_copy(model) != first
    assert (node_cache.local_copy(model) / "w.bin").read_bytes() == b"2" * 1000
    assert node_cache.local_file(f"{model}/w.bin").read_bytes() == b"2" * 1000
    assert (first / "w.bin").read_bytes() == one.read_bytes() == b"1" * 1000, "who began with them keeps them"


def stalled(uri: str, files: list[s3.Stored], target: Path) -> None:
    """A download that does not get far."""
    target.mkdir()
    (target / files[0].name).write_bytes(b"w" * 10)
    time.sleep(60)


def test_a_killed_downloaders_partial_is_removed_by_its_lock(
    bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, model = write(f"{bucket}/lost", {"w.bin": 500}), write(f"{bucket}/model", {"w.bin": 500})
    with monkeypatch.context() as patch:
        patch.setattr(s3_transfers, "download", stalled)
        downloaders = [started(node_cache.local_copy, uri) for uri in (lost, model)]
        wait_for(lambda: len(list(cache.glob("*.partial/w.bin"))) == 2, 60)
    for partial in cache.iterdir():
        os.utime(partial, (0, 0))  # old, and yet at work
    node_cache._sweep()
    assert len(list(cache.glob("*.partial"))) == 2
    for downloader in downloaders:
        assert downloader.pid
        os.kill(downloader.pid, signal.SIGKILL)
        downloader.join()
    copy = node_cache.local_copy(model)
    assert (copy / "w.bin").read_bytes() == b"w" * 500
    assert names(cache) == [copy.name] and len(list(cache.glob("*.lock"))) == 1, "of both"
    assert (cache / f"{copy.name}.lock").read_text() == "500"


def test_a_failed_download_leaves_nothing_and_the_next_succeeds(
    bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write(f"{bucket}/model", {"w.bin": 500})

    def full(uri: str, files: list[s3.Stored], target: Path) -> None:
        (target / "x").mkdir(parents=True)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(s3_transfers, "download", full)
        with pytest.raises(node_cache.NoRoom, match="DERMRAY_CACHE"):
            node_cache.local_copy(model)
        assert names(cache) == []
        patch.setattr(s3_transfers, "download", lambda uri, files, target: (target / "x").mkdir(parents=True))
        with pytest.raises(OSError, match="not as long as it"):
            node_cache.local_copy(model)
        assert names(cache) == []
    assert (node_cache.local_copy(model) / "w.bin").stat().st_size == 500


def test_the_copy_that_nobody_uses_and_asked_for_longest_ago_goes(
    bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMRAY_CACHE_GB", "0.0036")
    uris = [write(f"{bucket}/{name}", {"w.bin": MB}) for name in "abcdef"]
    used = node_cache.local_copy(uris[0])
    in_another_process(node_cache.local_copy, uris[1])
    in_another_process(node_cache.local_copy, uris[2])
    in_another_process(node_cache.local_copy, uris[1])
    second = node_cache.local_copy(uris[3])
    assert used.is_dir() and second.is_dir() and len(names(cache)) == 3
    assert any("-b-" in name for name in names(cache)), "c was asked for before b was for the second time"
    third = node_cache.local_copy(uris[4])
    assert names(cache) == sorted([used.name, second.name, third.name])
    with pytest.raises(node_cache.NoRoom, match=r"f: 0\.001 GB are to be copied .* 0\.0006 GB are left, and"):
        node_cache.local_copy(uris[5])
    assert len(list(cache.glob("*.lock"))) <= 4, "locks go with their copies"


def test_a_copy_in_the_making_counts(bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMRAY_CACHE_GB", "0.0015")
    first, second = (write(f"{bucket}/{name}", {"w.bin": MB}) for name in "ab")
    with monkeypatch.context() as patch:
        patch.setattr(s3_transfers, "download", stalled)
        downloader = started(node_cache.local_copy, first)
        wait_for(lambda: list(cache.glob("*.partial/w.bin")), 60)
    with pytest.raises(node_cache.NoRoom, match=r"0\.0005 GB are left"):
        node_cache.local_copy(second)
    downloader.kill()
    downloader.join()
    assert node_cache.local_copy(second).is_dir(), "a dead process takes no room"


def test_a_disk_without_room_is_said_before_the_download(
    bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_another_process(node_cache.local_copy, write(f"{bucket}/small", {"w.bin": 1000}))
    model = write(f"{bucket}/model", {"w.bin": 2 * MB})
    monkeypatch.setattr(s3_transfers, "download", lambda *_: pytest.fail("downloaded"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, free=MB))
    with pytest.raises(node_cache.NoRoom, match=r"0\.002 GB are to be copied to .*, where 0\.001 GB are left"):
        node_cache.local_copy(model)
    assert [name.rpartition("-")[0] for name in names(cache)] == [f"{bucket.removeprefix('s3://')}-small"], (
        "not in vain"
    )
    monkeypatch.setenv("DERMRAY_CACHE_GB", "plenty")
    with pytest.raises(ValueError, match="DERMRAY_CACHE_GB=plenty: expected gigabytes"):
        node_cache.local_copy(model)


def test_a_copy_that_lost_a_file_is_made_again(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write(f"{bucket}/model", {"w.bin": 500, "config.json": 2})
    in_another_process(node_cache.local_copy, model)
    [lost] = node_cache.root().glob("*/w.bin")
    lost.unlink()
    assert (node_cache.local_copy(model) / "w.bin").stat().st_size == 500
    lost.unlink()  # now this process uses the copy
    monkeypatch.setattr(node_cache, "TRIES", 2)
    with pytest.raises(OSError, match="files are missing, and a process uses the others"):
        node_cache.local_copy(model)


def test_what_is_read_once_is_not_kept(bucket: str, cache: Path, tmp_path: Path) -> None:
    write(f"{bucket}/shards", {"a.arrow": 100})
    with node_cache.read_once(f"{bucket}/shards/a.arrow") as file:
        assert file.stat().st_size == 100 and file.is_relative_to(cache)
    assert [path.name for path in cache.iterdir()] == ["room"]
    (tmp_path / "b.arrow").write_bytes(b"b")
    with node_cache.read_once(str(tmp_path / "b.arrow")) as file:
        assert file == tmp_path / "b.arrow"
    assert file.is_file(), "what is local is nobody's copy"


def test_what_is_local_is_itself(tmp_path: Path, bucket: str) -> None:
    assert node_cache.local_copy(str(tmp_path)) == tmp_path
    assert node_cache.local_file(f"{tmp_path}/a") == tmp_path / "a"
    with pytest.raises(FileNotFoundError, match="no such directory"):
        node_cache.local_copy(f"{bucket}/none")
