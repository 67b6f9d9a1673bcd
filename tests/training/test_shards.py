"""A node keeps the shards that training is at, and no others, whoever trains and however often."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest

from dermray import storage
from dermray.node_cache import NoRoom
from dermray.training.batches import EncodedImages, EncodedSamples, Source
from dermray.training.encode import read_index
from dermray.training.order import Order
from dermray.training.shards import Shards
from tests.training.test_batches import write_shards

SHARDS, ROWS, WINDOW = 18, 4, 3  # shards, images in each, shards in a window


@pytest.fixture
def source(bucket: str, tmp_path: Path) -> Source:
    """In S3: images of 16 px, and what stands for samples that were made of them."""
    numbers = np.random.default_rng(0).permutation(SHARDS * ROWS).reshape(SHARDS, ROWS).tolist()
    write_shards(tmp_path / "images", numbers, window=WINDOW * ROWS)
    storage.copy_directory(str(tmp_path / "images"), f"{bucket}/images")
    names = []
    for shard in read_index(f"{bucket}/images/16")["shards"]:
        rows = feather.read_table(tmp_path / "images" / "16" / shard).select(["sample_id"])
        encoded = pa.array([name.encode() * 100 for name in rows["sample_id"].to_pylist()], pa.large_binary())
        feather.write_feather(rows.append_column("encoded", encoded), tmp_path / shard, compression="uncompressed")
        storage.write_bytes(f"{bucket}/samples/{shard}", (tmp_path / shard).read_bytes())
        names.append(shard)
    return Source(f"{bucket}/images", f"{bucket}/samples", [names])


@pytest.fixture
def cache(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node's cache with room for two windows of images and not a byte more."""
    largest = max(file.stat().st_size for file in (tmp_path / "images" / "16").glob("*.arrow"))
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DERMRAY_CACHE_GB", str(2 * WINDOW * largest / 1e9))
    return tmp_path / "cache"


def _sizes_of_shards(cache: Path) -> list[int]:
    """While a thread removes some of them: `rglob` fails then."""
    sizes = []
    for folder, _, files in os.walk(cache):
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                sizes += [os.stat(os.path.join(folder, file)).st_size] if file.endswith(".arrow") else []
    return sizes


@pytest.mark.parametrize("ahead", [False, True])
def test_a_node_holds_two_windows_and_shows_every_image_once_an_epoch(source: Source, cache: Path, ahead: bool) -> None:
    [images] = source.open() if ahead else Source(source.encoded).open()
    assert isinstance(images, EncodedSamples if ahead else EncodedImages)
    order, seen, most = Order([images.sharding], 9, 0), list[str](), 0
    for step in range(2 * SHARDS * ROWS // 9):
        workers = (4, 3, 5)[step // 6 % 3]
        images.keep(order.shards(step)[1])
        for rank in range(workers):
            _, index = order.share(step, rank, workers)
            ids = images.sample_ids(index)
            if isinstance(images, EncodedImages):
                assert images.captions(index) == [f"caption {int(i)}" for i in ids]
                assert images.pixels(index)[:, 2, 3, 4].tolist() == [int(i) for i in ids]
            else:
                assert images._take("encoded", index) == [i.encode() * 100 for i in ids]
            seen += ids
        sizes = _sizes_of_shards(cache)
        most = max(most, sum(sizes))
        assert len(sizes) <= 2 * WINDOW or ahead, "samples are smaller"
    everything = sorted(f"{i:04d}" for i in range(SHARDS * ROWS))
    half = len(everything)
    assert sorted(seen[:half]) == sorted(seen[half:]) == everything and seen[:half] != seen[half:]
    assert 0 < most <= float(os.environ["DERMRAY_CACHE_GB"]) * 1e9


def test_all_rows_are_read_shard_by_shard(source: Source, cache: Path) -> None:
    images = EncodedImages(f"{source.encoded}/16")
    parts = list(images.in_turn())
    assert [len(part) for part in parts] == [ROWS] * SHARDS
    ids = [i for part in images.in_turn() for i in images.sample_ids(part)]
    assert sorted(ids) == sorted(f"{i:04d}" for i in range(SHARDS * ROWS))


def test_what_had_no_room_is_opened_when_there_is(source: Source, cache: Path) -> None:
    index = read_index(f"{source.encoded}/16")
    shards = Shards(f"{source.encoded}/16", index["shards"])
    shards.keep(range(2 * WINDOW + 1))
    with pytest.raises(NoRoom, match="make room"):
        [shards[number] for number in range(2 * WINDOW + 1)]
    shards.keep(range(1, 2 * WINDOW + 1))
    assert [len(shards[number]) for number in range(1, 2 * WINDOW + 1)] == [ROWS] * 2 * WINDOW


def test_a_missing_shard_is_named(source: Source, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"images/16/none\.arrow"):
        Shards(f"{source.encoded}/16", ["none.arrow"])[0]
