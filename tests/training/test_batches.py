import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dermray.datasets.phantom import encode_png
from dermray.training.batches import EncodedImages, EncodedSamples, Order, buckets, epoch_order
from dermray.training.encode import INDEX, _Shards, write_index


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(1, 120), min_size=1, max_size=3),
    seed=st.integers(0, 99),
    workers=st.sampled_from([1, 2, 4]),
    batch=st.sampled_from([4, 8, 32]),
)
def test_every_image_once_an_epoch_whatever_the_number_of_workers(
    counts: list[int], seed: int, workers: int, batch: int
) -> None:
    """Each worker has as many images, all of one bucket; a bucket's images come as its epochs' permutations."""
    order = Order(counts, batch, seed)
    drawn: list[list[int]] = [[] for _ in counts]
    steps = 3 * sum(counts) // batch + len(counts)
    for step in range(steps):
        shares = [order.share(step, rank, workers) for rank in range(workers)]
        [bucket] = {bucket for bucket, _ in shares}
        assert {len(share) for _, share in shares} == {batch // workers}
        drawn[bucket] += np.stack([share for _, share in shares], 1).ravel().tolist()
    for count, shown in zip(counts, drawn, strict=True):
        expected = np.concatenate([epoch_order(count, seed, epoch) for epoch in range(len(shown) // count + 1)])
        assert shown == expected[: len(shown)].tolist()
        assert abs(len(shown) - count * steps * batch / sum(counts)) <= 2 * batch * len(counts), "buckets keep pace"


def test_buckets_are_mixed() -> None:
    """Small images are not all seen before large ones."""
    order = Order([400, 400], 8, 0)
    seen = [order.share(step, 0, 1)[0] for step in range(100)]
    assert sum(seen) == 50 and 30 < sum(a != b for a, b in itertools.pairwise(seen)) < 70


def write_shards(directory: Path, blocks: list[list[int]], size: int = 16) -> EncodedImages:
    """A bucket of one-colour images: image i is all i."""
    names: list[str] = []
    for block in blocks:
        image = [encode_png(np.full((20, 24, 3), i, np.uint8)) for i in block]
        names += _Shards(str(directory), [size])(rows_of(block, image))["file"].to_pylist()
    write_index(str(directory / str(size)), size, names)
    (directory / INDEX).write_text(json.dumps({size: sum(map(len, blocks))}))
    [images] = buckets(str(directory))
    return images


def rows_of(numbers: list[int], images: list[bytes], split: str = "train") -> pa.Table:
    return pa.table(
        {
            "sample_id": [f"{i:04d}" for i in numbers],
            "image": images,
            "caption": [f"caption {i}" for i in numbers],
            "split": [split] * len(numbers),
        }
    )


def test_images_go_to_the_largest_size_that_they_fill(tmp_path: Path) -> None:
    sides = [(16, 16), (31, 64), (32, 32), (90, 64), (500, 63), (64, 64)]
    images = [encode_png(np.full((height, width, 3), 9, np.uint8)) for width, height in sides]
    shards = _Shards(str(tmp_path), [32, 64])(rows_of(list(range(6)), images)).to_pylist()
    assert {shard["size"]: shard["rows"] for shard in shards} == {32: 4, 64: 2}
    for shard in shards:
        write_index(str(tmp_path / str(shard["size"])), shard["size"], [shard["file"]])
    (tmp_path / INDEX).write_text(json.dumps({64: 2, 32: 4}))
    small, large = buckets(str(tmp_path))
    assert small.captions(np.arange(4)) == [f"caption {i}" for i in (0, 1, 2, 4)]
    assert large.pixels(np.arange(2)).shape == (2, 3, 64, 64) and small.pixels(np.arange(4)).shape == (4, 3, 32, 32)


def test_images_keep_their_captions_however_they_were_sharded(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = write_shards(tmp_path / "a", [[3, 0, 7, 1], [2, 6], [5, 4]])
    other = write_shards(tmp_path / "b", [list(range(8))])
    index = np.array([6, 0, 3])
    for images in (one, other):
        assert images.pixels(index)[:, 0, 0, 0].tolist() == [6, 0, 3]
        assert images.captions(index) == ["caption 6", "caption 0", "caption 3"]
        assert images.sample_ids(index) == ["0006", "0000", "0003"]


def test_a_batch_is_read_without_its_bucket(tmp_path: Path) -> None:
    """Arrow's `take` on a table of several files puts them together first: gigabytes for a few images."""
    for shard in range(3):
        rows = {"sample_id": [f"{shard}-{i}" for i in range(50)], "encoded": [bytes(10_000)] * 50}
        feather.write_feather(pa.table(rows), tmp_path / f"{shard}.arrow", compression="uncompressed")
    images, before = EncodedSamples(str(tmp_path), [f"{shard}.arrow" for shard in range(3)]), pa.default_memory_pool()
    counted = pa.proxy_memory_pool(before)
    pa.set_memory_pool(counted)
    try:
        ids, found = images.sample_ids(np.array([0, 70, 149])), images._take("encoded", np.array([0, 70, 149]))
    finally:
        pa.set_memory_pool(before)
    assert ids == ["0-0", "1-27", "2-9"] and found == [bytes(10_000)] * 3
    assert counted.max_memory() < 100_000, "of 1,500,000 bytes"


def test_rows_of_another_split_are_refused(tmp_path: Path) -> None:
    image = encode_png(np.asarray(Image.new("RGB", (16, 16))))
    with pytest.raises(ValueError, match="leak"):
        _Shards(str(tmp_path), [16])(rows_of([0], [image], "test"))
