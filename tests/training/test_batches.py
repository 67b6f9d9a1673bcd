import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest
from PIL import Image

from dermray.datasets.phantom import encode_png
from dermray.training import batches, encode
from dermray.training.batches import EncodedImages, EncodedSamples, buckets, captions_for_words
from dermray.training.encode import INDEX, write_index


def shards_of(rows: pa.Table, directory: Path, sizes: list[int], split: str = "train") -> list[dict[str, Any]]:
    """A block of captioned rows as shards, and a line for each."""
    lines: list[dict[str, Any]] = encode.write_shards(encode.decoded(rows, sizes, split), str(directory)).to_pylist()
    return lines


OLD: encode.Index = {"image_size": 16, "shards": [], "rows": None, "window": None}


def write_shards(directory: Path, blocks: list[list[int]], size: int = 16, window: int | None = None) -> EncodedImages:
    """A bucket of one-colour images: image i is all i."""
    rows: dict[str, int] = {}
    for block in blocks:
        image = [encode_png(np.full((20, 24, 3), i, np.uint8)) for i in block]
        rows |= {shard["file"]: shard["rows"] for shard in shards_of(rows_of(block, image), directory, [size])}
    write_index(str(directory / str(size)), size, rows, window)
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
    shards = shards_of(rows_of(list(range(6)), images), tmp_path, [32, 64])
    assert {shard["size"]: shard["rows"] for shard in shards} == {32: 4, 64: 2}
    for shard in shards:
        write_index(str(tmp_path / str(shard["size"])), shard["size"], {shard["file"]: shard["rows"]})
    (tmp_path / INDEX).write_text(json.dumps({64: 2, 32: 4}))
    small, large = buckets(str(tmp_path))
    assert small.captions(np.arange(4)) == [f"caption {i}" for i in (0, 1, 2, 4)]
    assert large.pixels(np.arange(2)).shape == (2, 3, 64, 64) and small.pixels(np.arange(4)).shape == (4, 3, 32, 32)


class Words:
    """A family whose tokenizer is made of the captions."""

    makes_words = staticmethod(lambda _config: True)


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
    assert captions_for_words(Words, None, f"{tmp_path}/a") == [f"caption {i}" for i in range(8)]  # type: ignore[arg-type]


def test_words_come_from_the_least_ids_where_all_images_are_one_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else from the first shards: the words must not depend on how many of many are read."""
    monkeypatch.setattr(batches, "CAPTIONS_FOR_WORDS", 3)
    blocks = [[3, 0, 7, 1], [2, 6, 8, 9], [5, 4, 11, 10]]
    write_shards(tmp_path / "whole", blocks)
    assert captions_for_words(Words, None, f"{tmp_path}/whole") == ["caption 0", "caption 1", "caption 2"]  # type: ignore[arg-type]
    images = write_shards(tmp_path / "windows", blocks, window=4)
    first = sorted(images.captions(np.arange(4)), key=lambda caption: int(caption.split()[1]))[:3]
    assert captions_for_words(Words, None, f"{tmp_path}/windows") == first  # type: ignore[arg-type]


def test_a_batch_is_read_without_its_bucket(tmp_path: Path) -> None:
    """Arrow's `take` on a table of several files puts them together first: gigabytes for a few images."""
    for shard in range(3):
        rows = {"sample_id": [f"{shard}-{i}" for i in range(50)], "encoded": [bytes(10_000)] * 50}
        feather.write_feather(pa.table(rows), tmp_path / f"{shard}.arrow", compression="uncompressed")
    names = [f"{shard}.arrow" for shard in range(3)]
    images, before = EncodedSamples(str(tmp_path), names, OLD), pa.default_memory_pool()
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
        shards_of(rows_of([0], [image], "test"), tmp_path, [16])
