import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dermray.datasets.phantom import encode_png
from dermray.training.batches import EncodedImages, epoch_order, share_of_step
from dermray.training.encode import INDEX, _Shard


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(1, 200),
    seed=st.integers(0, 99),
    workers=st.sampled_from([1, 2, 4]),
    batch=st.sampled_from([4, 8, 32]),
)
def test_every_image_once_an_epoch_whatever_the_number_of_workers(
    count: int, seed: int, workers: int, batch: int
) -> None:
    steps = -(-3 * count // batch)
    drawn = np.concatenate(
        [
            np.stack([share_of_step(count, seed, s, batch, r, workers) for r in range(workers)], 1).ravel()
            for s in range(steps)
        ]
    )
    for epoch in range(3):
        assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(count))
    assert np.array_equal(drawn[:count], epoch_order(count, seed, 0))


def write_shards(directory: Path, blocks: list[list[int]], size: int = 16) -> EncodedImages:
    """Shards of one-colour images: image i is all i."""
    names = []
    for block in blocks:
        table = pa.table(
            {
                "sample_id": [f"{i:04d}" for i in block],
                "image": [encode_png(np.full((20, 24, 3), i, np.uint8)) for i in block],
                "caption": [f"caption {i}" for i in block],
                "split": ["train"] * len(block),
            }
        )
        names += _Shard(str(directory), size)(table)["file"].to_pylist()
    about = {"image_size": size, "rows": sum(map(len, blocks)), "shards": names}
    (directory / INDEX).write_text(json.dumps(about))
    return EncodedImages(str(directory))


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


def test_rows_of_another_split_are_refused(tmp_path: Path) -> None:
    image = encode_png(np.asarray(Image.new("RGB", (16, 16))))
    table = pa.table({"sample_id": ["a"], "image": [image], "caption": ["c"], "split": ["test"]})
    with pytest.raises(ValueError, match="leak"):
        _Shard(str(tmp_path), 16)(table)
