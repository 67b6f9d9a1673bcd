"""Stable Diffusion from its published layout: how it is loaded and trained, and what plain diffusers makes of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from dermray.config import load, preset
from dermray.generators.base import Request, family
from dermray.generators.latent_unet import LatentUNet
from dermray.generators.stable_diffusion import StableDiffusion
from dermray.generators.stable_diffusion_base import FIRST_LAYER, StableDiffusionBaseConfig, check
from dermray.generators.stable_diffusion_lora import StableDiffusionLora, StableDiffusionLoraConfig
from dermray.train_loop import State
from dermray.train_loop.checkpoint import restore, save
from dermray.training.run import TrainConfig, weights_of
from tests.generators.conftest import CAPTIONS, shaken
from tests.generators.fake_device import OneBatch
from tests.generators.stable_diffusion_folders import published, single_file

IMAGES = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
REQUESTS = [Request(CAPTIONS[0], 7), Request(CAPTIONS[1], 8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return published(tmp_path_factory.mktemp("sd") / "v1-4")


def settings(base: str, **changes: Any) -> StableDiffusionBaseConfig:
    return StableDiffusionBaseConfig(base=base, image_size=64, **changes)


def drawn_by_diffusers(pipeline: Any, steps: int = 3) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(request.seed) for request in REQUESTS]
    images = pipeline(
        CAPTIONS, height=64, width=64, guidance_scale=7.5, num_inference_steps=steps, output_type="pt",
        generator=generators,
    ).images  # fmt: skip
    return (images * 255).round().int()


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return int((ours.int() - theirs).abs().max()) <= 1  # of 256 levels


def test_a_flagged_lesion_is_drawn(folder: str) -> None:
    """The folder's checker flags everything: plain diffusers draws black from it, as published."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    assert not drawn_by_diffusers(pipeline).any()
    model = StableDiffusionLora.from_captions(
        StableDiffusionLoraConfig(base=folder, image_size=64, rank=2, alpha=2), []
    )
    assert model.pipeline.safety_checker is None and not model.pipeline.config.requires_safety_checker
    pipeline.safety_checker = None
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    assert close(model.sample(REQUESTS, 7.5, 3), drawn_by_diffusers(pipeline))


@pytest.mark.parametrize("version", ["1.4", "2.1"])
def test_half_precision_where_it_is_all_there_is(version: str, tmp_path: Path) -> None:
    base = published(tmp_path / "base", version, variant="fp16")
    assert all(".fp16." in file.name for file in Path(base).rglob("*.safetensors"))
    config = settings(base, dtype="fp16")
    check(config)
    model = StableDiffusion.from_captions(config, [])
    assert {p.dtype for p in model.unet.parameters()} == {torch.float32}, "what is trained is whole"
    assert {p.dtype for part in (model.vae, model.clip) for p in part.parameters()} == {torch.float16}
    unet = diffusers.UNet2DConditionModel.from_pretrained(base, subfolder="unet", variant="fp16")
    assert all(
        torch.equal(a.float(), b.float()) for a, b in zip(unet.parameters(), model.unet.parameters(), strict=True)
    )


def test_full_fine_tuning_trains_the_whole_unet_and_plain_diffusers_draws_it(folder: str, tmp_path: Path) -> None:
    model = StableDiffusion.from_captions(settings(folder), [])
    model(model.collate(model.encode(IMAGES, CAPTIONS))).backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learned == {name for name, p in model.named_parameters() if p.requires_grad}
    assert learned == {f"unet.{name}" for name, _ in model.unet.named_parameters()}
    before = model.sample(REQUESTS, 7.5, 3)
    ours = shaken(model, 0.02).sample(REQUESTS, 7.5, 3)
    assert not torch.equal(ours, before)
    model.save(tmp_path)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path)
    assert type(pipeline).__name__ == "StableDiffusionPipeline"
    assert close(ours, drawn_by_diffusers(pipeline))
    assert torch.equal(StableDiffusion.load(tmp_path).sample(REQUESTS, 7.5, 3), ours)


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_a_single_file_is_the_folder_that_it_was_made_from(folder: str, ending: str, tmp_path: Path) -> None:
    config = settings(single_file(folder, tmp_path / f"derm.{ending}"), base_config=folder)
    check(config)
    whole, single = (StableDiffusion.from_captions(c, []) for c in (settings(folder), config))
    assert single.pipeline.safety_checker is None
    for part in ("unet", "vae", "clip"):
        expected, got = getattr(whole, part).state_dict(), getattr(single, part).state_dict()
        assert expected.keys() == got.keys() and all(torch.equal(expected[name], got[name]) for name in expected)
    drawn = [model.sample(REQUESTS, 7.5, 2) for model in (single, whole)]
    assert close(drawn[0], drawn[1].int()), "weights that lie elsewhere in memory are summed in another order"
    assert [r.name for r in StableDiffusion.readers(config, CAPTIONS)] == ["clip"]
    known = weights_of("stable_diffusion", config)
    assert known.keys() == {"base", "base_config"} and known["base"] != known["base_config"]


def test_what_is_no_base_is_told_in_a_sentence(folder: str, tmp_path: Path) -> None:
    def broken(name: str, *gone: str, **index: Any) -> StableDiffusionBaseConfig:
        copy = tmp_path / name
        shutil.copytree(folder, copy)
        for path in gone:
            (shutil.rmtree if (copy / path).is_dir() else Path.unlink)(copy / path)
        if index:
            known = json.loads((copy / "model_index.json").read_text())
            (copy / "model_index.json").write_text(json.dumps(known | index))
        return settings(str(copy))

    file = tmp_path / "unet.safetensors"
    shutil.copy(f"{folder}/unet/diffusion_pytorch_model.safetensors", file)
    whole = single_file(folder, tmp_path / "whole.safetensors")
    save_file(load_file(whole) | {FIRST_LAYER: torch.zeros(8, 9, 3, 3)}, tmp_path / "inpainting.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\xff" * 100)
    wrong = {
        "expected a StableDiffusionPipeline .*, got a FluxPipeline; give": broken("flux", _class_name="FluxPipeline"),
        "and there is no model_index.json; give the folder": broken("none", "model_index.json"),
        "it lacks tokenizer; copy or download it again": broken("tokenizer", "tokenizer"),
        "it lacks the weights of unet;": broken("weights", "unet/diffusion_pytorch_model.safetensors"),
        "it lacks vae;": broken("vae", vae=[None, None]),
        "no such directory": settings(str(tmp_path / "nothing")),
        "no such file; ": settings("derm/t2im.safetensors", base_config=folder),
        "give model.base_config": settings(str(file)),
        "there is no unet, no vae, no text_encoder inside": settings(str(file), base_config=folder),
        "its U-Net takes 9 channels, expected 4: is it for inpainting": settings(
            str(tmp_path / "inpainting.safetensors"), base_config=folder
        ),
        "cut.safetensors: cut or damaged, 100 bytes, and no safetensors file; copy it again": settings(
            str(tmp_path / "cut.safetensors"), base_config=folder
        ),
        "is a whole pipeline; leave it out": settings(folder, base_config=folder),
    }
    for message, config in wrong.items():
        for name in ("stable_diffusion", "stable_diffusion_lora"):
            cls = family(name)
            with pytest.raises((ValueError, FileNotFoundError), match=message):
                cls.check_start(cls.Config(**config.model_dump()))
    check(settings(folder))


@pytest.mark.parametrize(
    ("name", "version"), [("dermdiff", "1.4"), ("lesiongen", "1.4"), ("derm_t2im", "1.4"), ("lesiongen", "2.1")]
)
def test_a_preset_on_its_published_layout(name: str, version: str, tmp_path: Path) -> None:
    """Steps under the preset's precision, a preview, a checkpoint gone on with, the export in plain diffusers."""
    base = published(tmp_path / "base", version)
    changes = [f"model.base={base}", "model.image_size=64", "loop.steps=2"]
    config = load(TrainConfig, preset(f"train/{name}"), changes)
    cls = family(config.family)
    given: Any = cls.Config(**config.model)
    if config.family == "stable_diffusion_lora" and given.prior_prompt:
        given = given.model_copy(update={"prior_images": 2, "prior_steps": 2})
    cls.check_start(given)

    def build() -> LatentUNet:
        made: Any = cls.from_captions(given, []).train()
        if cls.prior_by(given):
            made.keep_prior(cls.encoder(given, []).draw_prior())
        return made

    model = build()
    loop = config.loop.model_copy(update={"batch_size": 4})
    batch = model.collate(model.encode(IMAGES.repeat(2, 1, 1, 1), CAPTIONS * 2))
    task, state = OneBatch(batch), State(model, loop)
    assert 0 < state.advance(task, model, 0, 1) < 10
    with state.averaged() as averaged:
        assert task.pictures(averaged)["benign"].any(), "not black"
    save(state, tmp_path, 0)
    again = State(build(), loop)
    restore(again, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(state.trained, again.trained, strict=True))
    assert len(again.ema) == (len(again.trained) if loop.ema_decay else 0)
    assert all(torch.equal(a, b) for a, b in zip(state.ema, again.ema, strict=True))
    again.advance(task, again.module, 0, 1)
    model = again.module  # type: ignore[assignment]  # that of build
    model.save(tmp_path / "model")
    ours = cls.load(tmp_path / "model").float().sample(REQUESTS, 7.5, 3)
    if config.family == "stable_diffusion":
        pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "model")
    else:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(base, safety_checker=None)
        pipeline.load_lora_weights(tmp_path / "model")
        pipeline.scheduler = type(pipeline.scheduler).from_config(
            pipeline.scheduler.config, timestep_spacing="trailing"
        )
    assert close(ours, drawn_by_diffusers(pipeline))
