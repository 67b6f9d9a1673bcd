"""The store, held to decoding the same rows one by one."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dermray import manifest, storage
from dermray.classification import pixel_store
from dermray.classification.pixel_store import IDS, PIXELS, PixelStore, fill, write_shard
from dermray.datasets.pixels import pixels
from dermray.picked import pick


def ids_of(start: int, count: int) -> list[str]:
    return [f"{(start + i) * 0x9E3779B97F4A7C15 % 2**64:016x}{'0' * 48}" for i in range(count)]


@pytest.fixture
def filled(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[str], np.ndarray]:
    """A store of three shards, local and in S3, its ids and its pixels."""
    monkeypatch.setenv("DERMRAY_CACHE", f"{tmp_path}/cache")
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8), dtype=np.uint8)
    for start in (0, 10, 20):
        ids = pixel_store.numbers(ids_of(start, 10))
        write_shard(f"{place}/8px-v1", f"s{start}", ids, images[start : start + 10])
    return place, ids_of(0, 30), images


def test_images_are_found_by_their_ids_in_any_order(filled: tuple[str, list[str], np.ndarray]) -> None:
    place, ids, images = filled
    store = PixelStore.open(place, 8)
    order = np.random.default_rng(1).permutation(30)
    rows = store.rows([ids[i] for i in order])
    assert len(store) == 30 and sorted(rows) == list(range(30)) and rows.dtype == np.int64
    assert np.array_equal(store.pixels(rows), images[order])
    assert np.array_equal(store.pixels(rows[[3, 3, 7]]), images[order[[3, 3, 7]]])
    assert store.pixels(rows[:0]).shape == (0, 3, 8, 8)
    there = pickle.loads(pickle.dumps(store))
    assert np.array_equal(there.pixels(rows), images[order])


def test_a_shard_that_was_cut_short_is_told(filled: tuple[str, list[str], np.ndarray]) -> None:
    place, ids, _ = filled
    store, file = PixelStore.open(place, 8), f"{place}/8px-v1/s10{PIXELS}"
    storage.write_bytes(file, storage.read_bytes(file)[:-1])
    with pytest.raises(OSError, match=f"s10{PIXELS}: cut short"):
        store.pixels(store.rows(ids))


def test_a_shard_without_ids_does_not_count(filled: tuple[str, list[str], np.ndarray]) -> None:
    place, ids, images = filled
    storage.delete_file(f"{place}/8px-v1/s10{IDS}")
    store = PixelStore.open(place, 8)
    assert store.has(ids).tolist() == [True] * 10 + [False] * 10 + [True] * 10
    with pytest.raises(KeyError, match=f"10 images are not here, such as {ids[10]}; fill it again"):
        store.rows(ids)
    assert np.array_equal(store.pixels(store.rows(ids[20:])), images[20:])
    with pytest.raises(FileNotFoundError, match="16px-v1: no pixels here"):
        PixelStore.open(place, 16)


@pytest.mark.slow
def test_ray_data_decodes_what_is_missing_and_nothing_else(small_run: Path, tmp_path: Path) -> None:
    place = str(tmp_path)
    rows = manifest.read(f"{small_run}/ingest").row_files()
    first = pick(rows, ["malignant"], pc.field("status") == "ok", 100)
    every = pick(rows, ["malignant"], pc.field("status") == "ok")
    some = fill(f"{place}/store", 16, pa.concat_tables([first, first]), shard_bytes=40 * 3 * 16**2)
    assert len(some) == 100 and len(some.shards) == 3, "each once, forty a shard"
    whole = fill(f"{place}/store", 16, every, shard_bytes=40 * 3 * 16**2)
    assert len(whole) == len(every) > 110
    assert set(some.shards) < set(whole.shards) and len(whole.shards) == 3 + -(-(len(every) - 100) // 40)
    ids = every["sample_id"].to_pylist()
    assert np.array_equal(whole.pixels(whole.rows(ids)), pixels(every, 16))
    opened = PixelStore.open(f"{place}/store", 16)
    assert np.array_equal(opened.pixels(opened.rows(ids[:5])), pixels(every.slice(0, 5), 16))
