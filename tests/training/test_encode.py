"""Rows to shards of a size in bytes, the same ones every time."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from dermray.config import validate
from dermray.datasets.phantom import encode_png
from dermray.records import CAPTIONED, conform, sample_id
from dermray.row_files import RowFiles
from dermray.training import encode
from dermray.training.batches import buckets
from dermray.training.encode import read_index
from dermray.training.run import _counted
from dermray.training.settings import TrainConfig, check


def row(number: int, split: str) -> dict[str, Any]:
    """One of ten images is large."""
    side = 32 if number % 10 == 0 else 16
    image = encode_png(np.full((side, side + 3, 3), number, np.uint8))
    return {
        "sample_id": sample_id(image), "image": image, "width": side + 3, "height": side, "split": split,
        "status": "ok", "caption": f"caption {number}", "origin": "real", "source": "phantom", "source_id": str(number),
    }  # fmt: skip


@pytest.fixture
def captioned(tmp_path: Path) -> str:
    """Files of 20 rows each; every other row of the last is no training row."""
    (tmp_path / "rows").mkdir()
    for file in range(12):
        numbers = range(20 * file, 20 * file + 20)
        rows = [row(i, "val" if file == 11 and i % 2 else "train") for i in numbers]
        pq.write_table(conform(rows, CAPTIONED), tmp_path / "rows" / f"{file}.parquet")
    return str(tmp_path / "rows")


TRAINED = [i for i in range(240) if i < 220 or i % 2 == 0]


@pytest.mark.slow
def test_shards_are_of_a_size_and_the_same_every_time(local_ray: None, captioned: str, tmp_path: Path) -> None:
    targets = [str(tmp_path / name) for name in ("a", "b")]
    for target in targets:
        counts = encode.encode(captioned, target, [32, 16], shard_bytes=40_000)
        assert counts == {16: 206, 32: 24}
    one, other = ({size: read_index(f"{target}/{size}") for size in (16, 32)} for target in targets)
    assert one == other
    blocks = -(-(206 * 768 + 24 * 3072) // 40_000)
    for size, about in one.items():
        assert about["rows"] is not None and len(about["rows"]) <= blocks + 1, "a shard of each block at most"
        assert max(about["rows"]) * 3 * size**2 <= 1.3 * 40_000 and about["window"] == 64 * 40_000 // (3 * size**2)
    seen = dict[int, str]()
    for images in buckets(targets[0]):
        for index in images.in_turn():
            pictures = images.pixels(index)[:, 0, 0, 0].tolist()
            seen |= dict(zip(pictures, images.captions(index), strict=True))
    assert seen == {i: f"caption {i}" for i in TRAINED}, "all, and each with its own words"


@pytest.mark.parametrize(("fate", "said"), [("drop", "dropped"), ("enlarge", "enlarged")])
def test_small_images_are_counted_and_their_fate_is_said(
    captioned: str, fate: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"output": "o", "rows": "r", "family": "flux_lora", "buckets": [32, 64], "small_images": fate}
    config = validate(TrainConfig, data | {"loop": {"epochs": 1}})
    rows: Any = SimpleNamespace(row_files=lambda: RowFiles(captioned))
    assert _counted(config, check(config), rows) == (230, 206)
    assert f"206 of 230 images have a side below 32 px: {said}" in capsys.readouterr().out


@pytest.mark.slow
def test_shards_are_no_runs_of_their_source(local_ray: None, captioned: str, tmp_path: Path) -> None:
    """Rows come in the order of their numbers, as sources come class by class: shards do not."""
    encode.encode(captioned, str(tmp_path / "encoded"), [16], shard_bytes=46 * 768)
    shards = sorted((tmp_path / "encoded" / "16").glob("*.arrow"))
    numbers = [[pixels[0] for pixels in feather.read_table(shard)["pixels"].to_pylist()] for shard in shards]
    assert sorted(number for shard in numbers for number in shard) == TRAINED
    dropped = str(tmp_path / "dropped")
    assert encode.encode(captioned, dropped, [32], least_side=32) == {32: 24}, "the others have a side of 16"
    [large] = buckets(dropped)
    assert set(large.captions(np.arange(24))) == {f"caption {i}" for i in TRAINED if i % 10 == 0}
    assert len(shards) == 5 and all(np.ptp(shard) > 46 for shard in numbers), "none is a run of the source"
