"""Images that keep their shape: which shapes there are, what is cut off, and batches of one shape."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dermray.config import ConfigError, validate
from dermray.datasets.phantom import encode_png
from dermray.generators.base import Request
from dermray.generators.flux_lora import FluxLora
from dermray.records import sample_id
from dermray.synthesis.gate.building import _square
from dermray.train_loop import LoopConfig, State
from dermray.training import encode
from dermray.training.aspects import AspectConfig, cut, shape_for, shapes, sides, summed, told_of
from dermray.training.batches import Source, buckets
from dermray.training.encode import INDEX, read_index, write_index
from dermray.training.forecast import of_captions
from dermray.training.precompute import Encoder, _Encode, _first
from dermray.training.run import load_generator, run
from dermray.training.settings import TrainConfig
from dermray.training.task import GeneratorTask
from tests.classification import made_rows
from tests.training.test_batches import rows_of
from tests.training.test_run import MODELS

SMALL = AspectConfig(multiple=32)


def test_shapes_at_512_px() -> None:
    found = shapes(512, AspectConfig())
    assert (512, 512) in found and (640, 384) in found and (384, 640) in found
    assert sorted(found) == sorted((height, width) for width, height in found), "each lies on its side too"
    for width, height in found:
        assert width % 64 == height % 64 == 0 and 0.5 <= width / height <= 2
        assert abs(width * height / 512**2 - 1) < 0.13


@given(st.integers(2, 32), st.sampled_from([16, 32, 64]), st.floats(1.1, 4.0))
def test_shapes_have_about_the_area_and_are_no_wider_than_allowed(many: int, multiple: int, widest: float) -> None:
    resolution = many * multiple
    for width, height in shapes(resolution, AspectConfig(multiple=multiple, widest=widest)):
        assert width % multiple == height % multiple == 0
        assert max(width, height) <= min(width, height) * widest + 1e-9
        assert abs(width * height - resolution**2) <= multiple * max(width, height) / 2 + 1e-9


@given(st.integers(16, 4000), st.integers(16, 4000))
def test_an_image_goes_to_the_nearest_shape_that_it_covers(width: int, height: int) -> None:
    config = AspectConfig()
    shape = shape_for((width, height), [512, 256], config)
    off = lambda other: abs(math.log(other[0] / other[1]) - math.log(width / height))  # noqa: E731
    for resolution in (512, 256):
        if shape in shapes(resolution, config):
            assert off(shape) == pytest.approx(min(map(off, shapes(resolution, config))))
            break
    large = min(shapes(512, config), key=off)
    covered = width >= large[0] and height >= large[1]
    assert (shape in shapes(512, config)) == covered or off(large) == pytest.approx(off(shape))


@given(st.integers(64, 3000), st.floats(0.5, 2.0))
def test_little_is_cut_off(width: int, ratio: float) -> None:
    """Of an image no wider than allowed; a square would keep half of the widest."""
    height = round(width / ratio)
    image = Image.new("RGB", (width, height))
    kept = cut(image, shape_for((width, height), [512], AspectConfig()), AspectConfig()).kept
    assert kept > 0.82 and kept >= min(width, height) / max(width, height) - 1e-9


def test_the_middle_is_kept() -> None:
    """A black frame at left and right that is as wide as what has to go."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, 50:150] = 255
    one = cut(Image.fromarray(pixels), (64, 64), SMALL)
    assert one.pixels.shape == (3, 64, 64) and one.pixels.min() > 200 and one.kept == 0.5 and not one.enlarged
    whole = cut(Image.fromarray(pixels), (64, 64), AspectConfig(multiple=32, fit="stretch"))
    assert whole.kept == 1.0 and whole.pixels[:, :, :10].max() < 50
    assert cut(Image.fromarray(pixels), (224, 96), SMALL).enlarged


@pytest.fixture(scope="module")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six squares, six of 3 : 2 and six of 2 : 3, of one colour each, at about 96 px."""
    directory = tmp_path_factory.mktemp("shaped")
    sizes = [(200, 200), (300, 200), (200, 300)] * 6
    images = [encode_png(np.full((h, w, 3), 10 * i, np.uint8)) for i, (w, h) in enumerate(sizes)]
    table = encode.decoded(rows_of(list(range(18)), images), [96], "train", None, SMALL)
    lines = encode.write_shards(table, str(directory)).to_pylist()
    for line in lines:
        write_index(str(directory / line["size"]), line["size"], {line["file"]: line["rows"]})
    (directory / INDEX).write_text(json.dumps({line["size"]: line["rows"] for line in lines}))
    (directory / encode.CROPS).write_text(json.dumps(summed(lines)))
    return str(directory)


def test_each_shape_has_a_bucket_and_what_was_cut_is_counted(shaped: str) -> None:
    crops = encode.read_crops(shaped)
    assert crops.keys() == {"96x96", "128x64", "64x128"} or crops.keys() == {"96x96", "128x96", "96x128"}
    assert sum(of["images"] for of in crops.values()) == 18 and crops["96x96"]["kept"] == 1.0
    assert told_of(crops).startswith("3 shapes; ") and "0 of 18 images enlarged" in told_of(crops)
    for images in buckets(shaped):
        width, height = sides(images.image_size)
        assert images.pixels(np.arange(len(images))).shape == (6, 3, height, width)
        assert {int(name) % 3 for name in images.sample_ids(np.arange(6))} == {
            0 if width == height else 1 if width > height else 2
        }


@pytest.mark.parametrize("name", ["flux_lora", "stable_diffusion_lora", "latent_diffusion"])
def test_a_batch_has_one_shape_and_all_are_learned_from(shaped: str, name: str) -> None:
    loop = LoopConfig(steps=6, batch_size=3)
    task = GeneratorTask(name, MODELS[name], Source(shaped), loop.model_dump(), True)
    state = State(task.build(), loop)
    shown = Counter[tuple[int, ...]]()
    while state.step < 6:
        [batch] = task.arguments(state.module, state.step, 0, 1, 0)
        shown[tuple(sorted(batch["moments"].shape[2:]))] += 1
        assert state.advance(task, state.module, 0, 1) > 0
    assert sorted(shown.values()) == [2, 4], "of squares, and of those that lie or stand"


def test_the_cache_is_by_shape(shaped: str, tmp_path: Path) -> None:
    model = MODELS["flux_lora"]
    encoder = Encoder("flux_lora", model, [shaped], ["", "caption 3"])
    files, made = encoder.files()
    _first(encoder, f"{tmp_path}/{made}")
    encodes = _Encode(encoder, str(tmp_path))
    for directory, names in zip(encoder.directories(), files, strict=True):
        for shard, file in zip(read_index(directory)["shards"], names, strict=True):
            encodes({"directory": directory, "shard": shard, "file": file})
    within = GeneratorTask("flux_lora", model, Source(shaped), LoopConfig(steps=6, batch_size=3).model_dump(), False)
    ahead = replace(within, training=Source(shaped, str(tmp_path), files))
    module: Any = encodes.generator
    for step in range(6):
        from tests.training.test_several_captions import task_place

        plain, cached = (task._read(task_place(step)).samples(module, False) for task in (within, ahead))
        for one, other in zip(plain, cached, strict=True):
            torch.testing.assert_close(one["moments"], other["moments"], rtol=1e-4, atol=1e-5)


def test_flux_sees_a_wide_image_as_diffusers_does() -> None:
    """Places of tokens and the shift, of 128 x 64 px."""
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    model = FluxLora.from_captions(FluxLora.Config.model_validate(MODELS["flux_lora"]), ["red"]).eval()
    pipeline: Any = model.pipeline
    packed, places = pipeline.prepare_latents(
        1, 4, 64, 128, torch.float32, torch.device("cpu"), torch.Generator().manual_seed(3)
    )
    latents = pipeline._unpack_latents(packed, 64, 128, pipeline.vae_scale_factor)
    assert latents.shape == (1, 4, 8, 16)
    text = model.collate(model.encode_texts(["red"]))
    with torch.no_grad():
        theirs = model.transformer(
            hidden_states=packed, timestep=torch.tensor([0.4]), guidance=torch.tensor([1.0]), img_ids=places,
            pooled_projections=text["pooled"], encoder_hidden_states=text["tokens"],
            txt_ids=torch.zeros(text["tokens"].shape[1], 3), return_dict=False,
        )[0]  # fmt: skip
        ours = model.velocity(latents, torch.tensor([0.4]), text, torch.tensor([1.0]))
        turned = model.velocity(latents.mT, torch.tensor([0.4]), text, torch.tensor([1.0])).mT
    torch.testing.assert_close(ours, pipeline._unpack_latents(theirs, 64, 128, pipeline.vae_scale_factor))
    assert not torch.allclose(ours, turned), "rows and columns are not the same"
    assert model.tokens(latents) == packed.shape[1] == 32
    scheduler = pipeline.scheduler.config
    names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    assert model.training_mu(32) == pytest.approx(calculate_shift(32, *(scheduler[name] for name in names)))


def test_copies_are_looked_for_in_the_middle() -> None:
    wide = torch.zeros(1, 3, 4, 8, dtype=torch.uint8)
    wide[..., 2:6] = 9
    assert _square(wide).shape == (1, 3, 4, 4) and (_square(wide) == 9).all()
    assert _square(wide[..., :4]).shape == (1, 3, 4, 4)


def config_of(**given: Any) -> TrainConfig:
    model = {"image_size": 80, "rank": 4, "max_sequence_length": 16}
    base = {"output": "x", "rows": "a", "family": "flux_lora", "loop": {"steps": 1, "batch_size": 1}}
    return validate(TrainConfig, {"model": model} | base | given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"aspects": {"multiple": 24}}, "multiple=24: Input should be a multiple of 16"),
        ({"aspects": {"widest": 1.0}}, "widest=1.0: Input should be greater than 1"),
        ({"aspects": {"multiple": 48}, "family": "latent_diffusion", "model": {}}, "multiple of 32 px, which this"),
        ({"aspects": {}, "buckets": [64]}, "at 64 px no shape but the square is left; give a smaller multiple"),
        ({"aspects": {}, "small_images": "drop"}, "small_images=drop: with aspects"),
        ({"aspects": {}, "family": "pixel_dermdit", "model": {}}, "family pixel_dermdit draws one square size"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**given)


@pytest.mark.slow
def test_the_bill_is_of_the_largest_shape() -> None:
    square, shaped = (of_captions(config_of(**given), ["red"]) for given in ({}, {"aspects": {"multiple": 16}}))
    assert max(map(math.prod, shapes(80, AspectConfig(multiple=16)))) > 80**2
    assert shaped.memory.activations > square.memory.activations


def test_several_captions_and_shapes_lie_side_by_side(tmp_path: Path) -> None:
    from dermray.training.several_captions import MoreCaptions

    more = MoreCaptions(np.array(["0000"], "S64"), pa.array([["second"]]))
    images = [encode_png(np.full((96, 144, 3), 9, np.uint8))]
    table = encode.decoded(rows_of([0], images), [96], "train", more, SMALL)
    [line] = encode.write_shards(table, str(tmp_path)).to_pylist()
    shard = feather.read_table(tmp_path / line["size"] / line["file"])
    assert shard["more"].to_pylist() == [["second"]] and set(shard.column_names) == {
        "sample_id", "caption", "more", "pixels",
    }  # fmt: skip


def row(number: int) -> dict[str, Any]:
    """A photograph that lies, stands or is square."""
    width, height = [(96, 64), (64, 96), (80, 80)][number % 3]
    image = encode_png(np.full((height, width, 3), 5 * number, np.uint8))
    return {
        "image": image, "sample_id": sample_id(image), "width": width, "height": height, "split": "train",
        "status": "ok", "caption": f"benign: lesion {number % 4}", "malignant": False, "skin_tone": "A",
        "origin": "real", "source": "x", "source_id": str(number), "leak_group": str(number), "licence": "CC0-1.0",
    }  # fmt: skip


@pytest.mark.slow
def test_a_training_of_shapes_and_several_captions(
    local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows to adapter, with what is asked for counted in the manifest; a DoRA by Prodigy."""
    rows = [row(number) for number in range(24)]
    made_rows.result(f"{tmp_path}/caption", "caption", rows)
    again = [one | {"caption": one["caption"].replace("lesion", "spot")} for one in rows[:20]]
    made_rows.result(f"{tmp_path}/second", "caption", again)
    model = {"image_size": 64, "rank": 2, "max_sequence_length": 16, "adapter": "dora"}
    config = {
        "output": f"{tmp_path}/train", "rows": f"{tmp_path}/caption", "captions": [f"{tmp_path}/second"],
        "family": "flux_lora", "model": model, "aspects": {"multiple": 16}, "encode_ahead": True, "flips": False,
        "loop": {"steps": 6, "batch_size": 4, "optimizer": "prodigy", "log_every": 3, "schedule": "constant"},
    }  # fmt: skip
    result = run(validate(TrainConfig, config))
    metrics = result.manifest.metrics
    assert metrics["images_by_captions"] == {"1": 4, "2": 20} and result.manifest.inputs["captions 1"] == "second"
    assert {name: of["images"] for name, of in metrics["crops"].items()} == {"48x80": 8, "64x64": 8, "80x48": 8}
    assert metrics["crops"]["64x64"]["kept"] == 1.0 and 0.85 < metrics["crops"]["80x48"]["kept"] < 1.0
    said = capsys.readouterr().out
    assert "8 at 48x80" in said and "4 images have 1, 20 images have 2" in said
    assert load_generator(result).sample([Request("benign: lesion 1", 1)], 3.5, 1).shape == (1, 3, 64, 64)
    assert run(validate(TrainConfig, config)).manifest.key == result.manifest.key, "finished: nothing is done"
