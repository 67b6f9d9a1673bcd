"""One of several captions an image and epoch: each as often as the others, the same after an interruption."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dermray.config import ConfigError, validate
from dermray.datasets.phantom import encode_png
from dermray.records import CAPTIONED, conform
from dermray.row_files import row_files
from dermray.train_loop import LoopConfig, State
from dermray.train_loop.checkpoint import restore, save
from dermray.training import encode
from dermray.training.batches import Source, all_captions, buckets, caption_counts
from dermray.training.encode import INDEX, read_index, write_index
from dermray.training.order import Order
from dermray.training.precompute import Encoder, _Encode, _first
from dermray.training.settings import TrainConfig
from dermray.training.several_captions import MoreCaptions, choose, more_captions
from dermray.training.task import GeneratorTask
from tests.training.test_batches import rows_of
from tests.training.test_run import MODELS

IMAGES = 8
PIXELS = {"image_size": 32, "stem_width": 8, "width": 32, "blocks": 1}


def texts(number: int) -> list[str]:
    """Of an image: one, two or three."""
    return [f"{word} {number}" for word in ("caption", "red", "round")[: 1 + number % 3]]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight images of one colour with one to three captions, in two shards."""
    directory = tmp_path_factory.mktemp("spoken")
    several = [number for number in range(IMAGES) if number % 3]
    more = MoreCaptions(np.array([f"{i:04d}" for i in several], "S64"), pa.array([texts(i)[1:] for i in several]))
    rows: dict[str, int] = {}
    for block in ([3, 0, 7, 1, 5], [2, 6, 4]):
        images = [encode_png(np.full((32, 32, 3), 10 * i, np.uint8)) for i in block]
        table = encode.decoded(rows_of(block, images), [32], "train", more)
        rows |= {line["file"]: line["rows"] for line in encode.write_shards(table, str(directory)).to_pylist()}
    write_index(str(directory / "32"), 32, rows)
    (directory / INDEX).write_text(json.dumps({32: IMAGES}))
    return str(directory)


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 50))
def test_each_caption_once_in_as_many_epochs(seed: int, number: int, count: int, turn: int) -> None:
    epochs = range(turn * count, (turn + 1) * count)
    assert sorted(choose(seed, number, epoch, count) for epoch in epochs) == list(range(count))


def test_images_do_not_go_through_their_captions_in_step() -> None:
    orders = Counter(tuple(choose(0, number, epoch, 3) for epoch in range(3)) for number in range(600))
    assert len(orders) == 6 and min(orders.values()) > 60


def test_every_caption_of_an_image_is_shown_as_often(spoken: str) -> None:
    """Over six epochs: of three captions twice, of two three times."""
    loop = LoopConfig(steps=12, batch_size=4, seed=5)
    task = GeneratorTask("pixel_dermdit", PIXELS, Source(spoken), loop.model_dump(), False)
    shown = Counter[str]()
    for step in range(12):
        batch: Any = task._read(task._following(task_place(step - 1)) or task_place(0))
        for caption, pixels in zip(batch.captions, batch.pixels[:, 0, 0, 0].tolist(), strict=True):
            assert caption in texts(pixels // 10), "its own"
            shown[caption] += 1
    assert shown == {text: 6 // len(texts(i)) for i in range(IMAGES) for text in texts(i)}
    [images] = buckets(spoken)
    assert images.read(np.arange(IMAGES)).captions == [f"caption {i}" for i in range(IMAGES)], "validation: the first"
    assert sorted(text for part in all_captions(spoken) for text in part) == sorted(shown)
    assert caption_counts(spoken) == {1: 3, 2: 3, 3: 2}


def task_place(step: int) -> Any:
    from dermray.training.ahead import Place

    return Place(step, 0, 1, 0)


@given(st.integers(0, 40), st.integers(1, 4))
def test_epochs_are_shared_as_images_are(step: int, workers: int) -> None:
    order = Order([10, 7], 8, 3)
    whole = order.epochs(step, 0, 1)
    for rank in range(workers):
        assert order.epochs(step, rank, workers).tolist() == whole[rank::workers].tolist()
        assert len(order.share(step, rank, workers)[1]) == len(whole[rank::workers])


def built(task: GeneratorTask, loop: LoopConfig) -> State:
    torch.manual_seed(0)
    return State(task.build(), loop)


@pytest.mark.parametrize("stop", [1, 4])
def test_resumed_is_uninterrupted_bit_for_bit(spoken: str, stop: int, tmp_path: Path) -> None:
    loop = LoopConfig(steps=6, batch_size=4, learning_rate=1e-2)
    task = GeneratorTask("pixel_dermdit", PIXELS, Source(spoken), loop.model_dump(), True)
    whole, state = built(task, loop), built(task, loop)
    for _ in range(6):
        whole.advance(task, whole.module, 0, 1)
    for _ in range(stop):
        state.advance(task, state.module, 0, 1)
    save(state, tmp_path, 0)
    again = replace(task)
    resumed = built(again, loop)
    restore(resumed, tmp_path)
    for _ in range(6 - stop):
        resumed.advance(again, resumed.module, 0, 1)
    assert all(torch.equal(a, b) for a, b in zip(whole.trained, resumed.trained, strict=True))


@pytest.mark.parametrize("name", ["flux_lora", "stable_diffusion_lora"])
def test_the_cache_holds_all_captions(spoken: str, name: str, tmp_path: Path) -> None:
    """FLUX's lie apart from the images, once each; Stable Diffusion's in their samples. Both are drawn as without."""
    model = MODELS[name]
    encoder = Encoder(name, model, [spoken], ["", "caption 3"])
    files, made = encoder.files()
    _first(encoder, f"{tmp_path}/{made}")
    encodes = _Encode(encoder, str(tmp_path))
    for directory, names in zip(encoder.directories(), files, strict=True):
        for shard, file in zip(read_index(directory)["shards"], names, strict=True):
            encodes({"directory": directory, "shard": shard, "file": file})
    if name == "flux_lora":
        kept = list(tmp_path.glob("captions/*/*.safetensors"))
        assert len(kept) == sum(len(texts(i)) for i in range(IMAGES))
    loop = LoopConfig(steps=6, batch_size=4).model_dump()
    within = GeneratorTask(name, model, Source(spoken), loop, False)
    ahead = replace(within, training=Source(spoken, str(tmp_path), files))
    module: Any = encodes.generator
    for step in range(4):
        plain, cached = (task._read(task_place(step)).samples(module, False) for task in (within, ahead))
        for one, other in zip(plain, cached, strict=True):
            assert one.keys() == other.keys()
            for key in one:
                torch.testing.assert_close(one[key], other[key], rtol=1e-4, atol=1e-5)


class Captions:
    """A result of the caption stage, by its rows alone."""

    def __init__(self, directory: Path, rows: list[dict[str, Any]]) -> None:
        directory.mkdir()
        pq.write_table(conform(rows, CAPTIONED), directory / "0.parquet")
        self.uri = str(directory)

    def row_files(self) -> Any:
        return row_files(self.uri)


def row(number: int, caption: str, **changes: Any) -> dict[str, Any]:
    return {"sample_id": f"{number:064x}", "caption": caption, "split": "train", "status": "ok"} | changes


def test_captions_are_joined_by_image(tmp_path: Path) -> None:
    pairs = [{"question": "What?", "answer": "a mole"}, {"question": "Why?", "answer": "It is dark."}]
    rows: Any = Captions(tmp_path / "a", [row(1, "benign: a mole", pairs=pairs), row(2, "two"), row(3, "three")])
    other: Any = Captions(
        tmp_path / "b",
        [row(1, "a nevus"), row(2, "two"), row(3, "no", status="rejected"), row(9, "another", split="val")],
    )
    ids = [f"{i:064x}" for i in (3, 1, 2)]
    first = ["three", "benign: a mole", "two"]
    more = more_captions(rows, [other], False)
    assert more is not None and more.of(ids, first) == [[], ["a nevus"], []], "an equal one is the same"
    apart = more_captions(rows, [other], True)
    assert apart is not None and apart.of(ids, first)[1] == ["a nevus", "benign: It is dark."]
    assert more_captions(rows, [], False) is None
    strange: Any = Captions(tmp_path / "c", [row(7, "x")])
    with pytest.raises(ConfigError, match="has no usable caption of an image that .* same ingest"):
        more_captions(rows, [strange], False)
    with pytest.raises(ConfigError, match="answers_apart=true: no row has several answers, which prompt set clinical"):
        more_captions(strange, [], True)


def test_a_result_given_twice_is_refused() -> None:
    given = {"output": "x", "rows": "a", "loop": {"steps": 1}}
    for captions in (["a"], ["b", "b"]):
        with pytest.raises(ConfigError, match="one is given twice, or is rows; give each once"):
            validate(TrainConfig, given | {"captions": captions})
    assert validate(TrainConfig, given | {"captions": ["b", "c"]}).captions == ("b", "c")
