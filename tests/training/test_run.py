"""A generator learning from buckets, without Ray."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dermray import manifest, storage, weights
from dermray.config import validate
from dermray.generators import frozen, nano
from dermray.generators.base import Generator, Request, family
from dermray.generators.flux_lora import FluxLora
from dermray.train_loop import LoopConfig, State
from dermray.train_loop.trainer import _inside
from dermray.training.batches import Source
from dermray.training.encode import read_index
from dermray.training.precompute import Encoder, _Encode, _first
from dermray.training.run import TrainConfig, load_generator, resolved, weights_of
from dermray.training.task import GeneratorTask

MODELS = {
    "flux_lora": {"image_size": 32, "rank": 4, "max_sequence_length": 16},
    "stable_diffusion_lora": {"image_size": 32, "rank": 4},
    "latent_diffusion": {"image_size": 32},
}


@pytest.mark.parametrize("name", list(MODELS))
def test_a_family_of_any_size_learns_from_both(two_sizes: str, name: str) -> None:
    loop = LoopConfig(steps=4, batch_size=4)
    task = GeneratorTask(name, MODELS[name], Source(two_sizes), loop.model_dump(), True)
    state = State(task.build(), loop)
    assert isinstance(state.module, Generator)
    shown = []
    while state.step < loop.steps:
        [batch] = task.arguments(state.module, state.step, 0, 1, 0)
        shown.append(tuple(batch["moments"].shape[2:]))
        assert state.advance(task, state.module, 0, 1) > 0
    assert sorted(shown) == [(4, 4), (4, 4), (8, 8), (8, 8)], "each batch has one size, an epoch has both"
    for size, side in ((None, 32), (64, 64)):
        assert state.module.sample([Request("caption 3", 0, size)], 2.0, 1).shape == (1, 3, side, side)


@pytest.mark.slow
def test_a_compiled_model_learns_from_both_sizes(two_sizes: str) -> None:
    """Its second size makes sizes symbols, which diffusers' way of drawing noise could not follow."""
    loop = LoopConfig(steps=4, batch_size=4)
    task = GeneratorTask("flux_lora", MODELS["flux_lora"], Source(two_sizes), loop.model_dump(), False)
    plain, compiled = State(task.build(), loop), State(task.build(), loop)
    compiled.module.load_state_dict(plain.module.state_dict())
    torch.compiler.reset()
    graph = torch.compile(compiled.module, backend="eager")
    for _ in range(loop.steps):
        assert compiled.advance(task, graph, 0, 1) == pytest.approx(plain.advance(task, plain.module, 0, 1), rel=1e-2)


def test_weights_that_are_damaged_or_not_there_get_one_sentence(tmp_path: Path) -> None:
    model = {"image_size": 16, "stem_width": 8, "width": 32, "blocks": 1}
    data = {"output": str(tmp_path), "rows": "x", "family": "pixel_dermdit", "model": model, "loop": {"steps": 1}}
    config = validate(TrainConfig, data)
    with manifest.work("train", config.output, config, {}) as work:
        result = work.commit(manifest.Rows(rows_in=0, ok=0, rejected=0, failed=0), 0)
    cls = family("pixel_dermdit")
    cls.from_captions(cls.Config(**model), ["red"]).save(Path(result.data) / "model")
    assert load_generator(result).image_size == 16
    file = Path(result.data) / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="model: damaged or cut off weights .*; copy or train them again"):
        load_generator(result)
    settings = FluxLora.Config(start_from=f"{tmp_path}/none.safetensors")
    with pytest.raises(FileNotFoundError, match="model.start_from=.*none.safetensors: no such file; give an adapter"):
        weights_of("flux_lora", settings)


def test_flux_draws_more_noise_for_larger_images(two_sizes: str) -> None:
    """Its sampler's steps are shifted by the number of tokens; the noise levels of training are as well."""
    loop = LoopConfig(steps=1).model_dump()
    task = GeneratorTask("flux_lora", MODELS["flux_lora"], Source(two_sizes), loop, True)
    module = task.build()
    levels = []
    for side in (4, 128):
        torch.manual_seed(0)
        levels.append(module.draw_sigmas(torch.zeros(512, 4, side, side)))  # type: ignore[operator]
    assert (levels[1] > levels[0]).all()


def test_flux_learns_and_draws_the_same_without_its_text_encoders(two_sizes: str, tmp_path: Path) -> None:
    """Workers that train on what was encoded ahead do not load T5 and CLIP."""
    nano.flux([f"caption {i}" for i in range(16)], 16).save_pretrained(tmp_path / "base")
    model = MODELS["flux_lora"] | {"base": str(tmp_path / "base")}
    loop = LoopConfig(steps=4, batch_size=4, learning_rate=1e-2, warmup_steps=0)
    encoder = Encoder("flux_lora", model, [two_sizes], ["", "caption 3"])
    files, texts = encoder.files()
    _first(encoder, f"{tmp_path}/{texts}")
    encode = _Encode(encoder, str(tmp_path))
    for directory, names in zip(encoder.directories(), files, strict=True):
        for shard, name in zip(read_index(directory)["shards"], names, strict=True):
            encode({"directory": directory, "shard": shard, "file": name})
    within = GeneratorTask(
        "flux_lora", model, Source(two_sizes), loop.model_dump(), False, {"a": Request("caption 3", 0)}
    )
    ahead = replace(within, training=Source(two_sizes, str(tmp_path), files), texts=f"{tmp_path}/{texts}")
    a, b = (State(task.build(), loop) for task in (within, ahead))
    assert isinstance(a.module, FluxLora) and isinstance(b.module, FluxLora)
    assert [getattr(b.module, encoder) for encoder in ("t5", "clip")] == [None, None]
    b.module.transformer.load_state_dict(a.module.transformer.state_dict())
    for _ in range(loop.steps):
        a.advance(within, a.module, 0, 1)
        b.advance(ahead, b.module, 0, 1)
    for mine, other in zip(a.trained, b.trained, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)
    difference = within.pictures(a.module)["samples/a"].int() - ahead.pictures(b.module)["samples/a"].int()
    assert difference.abs().max() <= 1


def test_workers_get_the_weights_that_the_driver_found(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By URI and revision: the driver's copy means nothing on another node, and a hub's name means another commit
    tomorrow."""
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "hub_commit", lambda name, revision: "c" * 40)
    storage.write_bytes(f"{bucket}/base/model_index.json", b"{}")
    revision = weights.fingerprint(f"{bucket}/base")
    for base, expected in ((f"{bucket}/base/", (f"{bucket}/base", revision)), ("some/base", ("some/base", "c" * 40))):
        settings = validate(FluxLora.Config, {"base": base})
        found = resolved(settings, weights_of("flux_lora", settings)).model_dump()
        assert (found["base"], found["revision"]) == expected
    nano_settings = validate(FluxLora.Config, {})
    assert resolved(nano_settings, weights_of("flux_lora", nano_settings)) is nano_settings

    storage.write_bytes(f"{bucket}/base/model_index.json", b"[]")
    with pytest.raises(ValueError, match=r"model\.base=.*its files have changed"):
        frozen.load_pipeline(f"{bucket}/base", revision, "fp32")


def test_what_is_wanted_of_a_checkpoint_is_read_where_it_lies(place: str) -> None:
    from ray.train import Checkpoint

    storage.write_bytes(f"{place}/run/checkpoint_1/history.json", b"{}")
    system, path = storage.filesystem(f"{place}/run/checkpoint_1")
    assert _inside(Checkpoint(path, system), place, "history.json") == f"{place}/run/checkpoint_1/history.json"
