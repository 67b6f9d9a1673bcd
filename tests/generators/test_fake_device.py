"""Families at full published size on a device that this machine does not have; first, that it behaves as one."""

from typing import Any

import diffusers
import pytest
import torch
import transformers
from accelerate import init_empty_weights
from torch import nn

from dermray.config import load, preset, validate
from dermray.generators import frozen, latent_diffusion, nano
from dermray.generators.dermdit import DermDiT, DermDiTConfig
from dermray.generators.glide import Glide, GlideConfig
from dermray.generators.glide_models import PUBLISHED, STAGES, Stage
from dermray.generators.latent_diffusion import LatentDiffusion, LatentDiffusionConfig
from dermray.generators.published import parts as published
from dermray.generators.stable_diffusion import StableDiffusion
from dermray.generators.stable_diffusion_lora import StableDiffusionLora
from dermray.train_loop import LoopConfig
from dermray.training.run import TrainConfig
from tests.generators.conftest import CAPTIONS
from tests.generators.fake_device import DEVICE, FakeDevice, live


def test_it_is_another_device() -> None:
    """Mixing is refused, products want one dtype, backward works, waits are counted, the host's numbers are real."""
    with FakeDevice() as device:
        layer = nn.Linear(4, 4)
        device.take(layer)
        x = torch.ones(2, 4)
        with pytest.raises(RuntimeError, match="same device"):
            layer(x)
        there = x.to(DEVICE)
        with pytest.raises(RuntimeError, match="one dtype"):
            layer(there.bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(there).dtype == torch.bfloat16
        layer(there).sum().backward()
        assert layer.weight.grad is not None and layer.weight.grad.device == DEVICE
        assert (x.sum().item(), device.waits) == (8.0, []), "the host's own"
        there.sum().item(), there.tolist(), there.cpu(), bool((there > 0).any())
        assert len(device.waits) == 4
        with pytest.raises(Exception, match="nonzero"):
            there.nonzero()


def parts(device: FakeDevice, clip: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Frozen components by their published configs, on the device."""
    with init_empty_weights():
        vae = diffusers.AutoencoderKL.from_config(published.SD_VAE)
        text = transformers.CLIPTextModel(transformers.CLIPTextConfig(**clip))
    for part in (vae, text):
        device.take(part.to(dtype).eval().requires_grad_(False))
    return {"vae": vae, "text_encoder": text, "tokenizer": nano.tokenizer(CAPTIONS, 77)}


SOAK = pytest.mark.soak  # the same networks in other ways: `make soak`


def settings(name: str, *changes: str) -> tuple[dict[str, Any], LoopConfig]:
    config = load(TrainConfig, preset(name), list(changes))
    return config.model, config.loop


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        (["model.compat=paper"], 407_964_800 - 64 * 1024),  # the table of positions is no parameter here
        pytest.param([], None, marks=SOAK),
        pytest.param(
            ["model.conditional=false", "loop.gradient_checkpointing=true"],
            458_053_760 - 64 * 1024 - 1000 * 1024,
            marks=SOAK,
        ),
    ],
    ids=["paper", "fixed", "unconditional"],
)
def test_dermdit(changes: list[str], trained: int | None) -> None:
    given, loop = settings("train/dermdit_paper", *changes)
    config = DermDiTConfig(**given)
    with FakeDevice() as device:
        components = parts(device, published.CLIP_VIT_B_32, torch.bfloat16)
        with init_empty_weights():
            model = DermDiT(config, components)
        device.take(model)
        life = live(device, model, loop, 4.0, 2)
    assert life.drawn.shape == (2, 3, 256, 256) and life.drawn.dtype == torch.uint8
    assert len(life.waits_of_a_step) <= 1, life.waits_of_a_step
    assert trained is None or life.trained == trained
    assert {name.split(".")[0] for name in life.checkpoint} == {"transformer"}, "nothing frozen"
    assert sum(life.checkpoint.values()) == life.trained + 64 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("precision", [pytest.param("bf16", marks=SOAK), "fp16"])
def test_latent_diffusion(precision: str) -> None:
    given, loop = settings("train/latent_diffusion_paper", f"model.dtype={precision}", f"loop.precision={precision}")
    config = LatentDiffusionConfig(**given)
    with FakeDevice() as device:
        components = parts(device, published.CLIP_VIT_B_32, frozen.DTYPES[precision])
        with init_empty_weights():
            unet = diffusers.UNet2DConditionModel(**latent_diffusion.geometry(config, 512))
        device.take(unet)
        model = LatentDiffusion(config, latent_diffusion.assembled(config, components, unet))
        life = live(device, model, loop, 4.0, 2)
    assert life.drawn.shape == (2, 3, 256, 256) and life.drawn.dtype == torch.uint8
    assert len(life.waits_of_a_step) <= 1, life.waits_of_a_step
    assert {p.dtype for p in life.state.trained} == {torch.float32}
    assert {name.split(".")[0] for name in life.checkpoint} == {"unet"}, "nothing frozen"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "version", "changes", "trained"),
    [
        ("dermdiff", 1, ["loop.accumulate=1"], 859_520_964),
        pytest.param(
            "dermdiff", 2, ["loop.accumulate=1", "loop.gradient_checkpointing=false"], 865_910_724, marks=SOAK
        ),
        ("lesiongen", 1, [], 12_754_944),  # diffusers' 797,184 of rank 4, sixteen times
        pytest.param("derm_t2im", 1, ["model.prior_images=2", "model.prior_steps=2"], None, marks=SOAK),
        pytest.param("lesiongen", 2, ["model.image_size=768"], None, marks=SOAK),
    ],
)
def test_stable_diffusion(name: str, version: int, changes: list[str], trained: int | None) -> None:
    given, loop = settings(f"train/{name}", *changes)
    full = name == "dermdiff"
    cls: Any = StableDiffusion if full else StableDiffusionLora
    config = cls.Config(**given)
    unet, clip, noise = (
        (published.SD_1_UNET, published.CLIP_VIT_L_14, published.SD_1_NOISE)
        if version == 1
        else (published.SD_2_UNET, published.OPEN_CLIP_VIT_H_14, published.SD_2_NOISE)
    )
    with FakeDevice() as device:
        components = parts(device, clip, torch.float16)
        with init_empty_weights():
            components["unet"] = diffusers.UNet2DConditionModel.from_config(unet)
        device.take(components["unet"].to(torch.float32 if full else torch.float16))
        pipeline = diffusers.StableDiffusionPipeline(
            **components, scheduler=diffusers.PNDMScheduler.from_config(noise), safety_checker=None,
            feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        with init_empty_weights():
            model = cls(config, frozen.at_rest(pipeline))
        device.take(model)
        if getattr(config, "prior_prompt", None):
            model.keep_prior(model.draw_prior())
        life = live(device, model, loop, 7.5, 2)
    assert life.drawn.shape == (2, 3, *[config.image_size] * 2) and life.drawn.dtype == torch.uint8
    assert len(life.waits_of_a_step) <= 1, life.waits_of_a_step
    assert trained is None or life.trained == trained
    assert {p.dtype for p in life.state.trained} == {torch.float32}
    assert len(life.state.ema) == (len(life.state.trained) if full else 0)
    assert sum(life.checkpoint.values()) == life.trained, "nothing frozen, nothing of the prior"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        pytest.param(
            ["model.variance_loss=true", "loop.precision=bf16", "loop.gradient_checkpointing=true"],
            783_392_012,
            marks=SOAK,
        ),
        (["model.stages=upsampler", "loop.precision=fp16"], 398_361_286),
    ],
    ids=["both", "upsampler"],
)
def test_glide(changes: list[str], trained: int) -> None:
    given, loop = settings("train/glide_paper", "model.upsampler_steps=[2]", *changes)  # of 27: all are alike
    words = nano.tokenizer(CAPTIONS, PUBLISHED["base"].context)
    with FakeDevice() as device:
        with init_empty_weights():
            base, upsampler = (Stage.build(PUBLISHED[name], words.pad_token_id) for name in STAGES)
        model = Glide(validate(GlideConfig, given), base, upsampler, words)
        device.take(model)
        life = live(device, model, loop, 3.0, 2)
    assert life.drawn.shape == (2, 3, 256, 256) and life.drawn.dtype == torch.uint8
    assert len(life.waits_of_a_step) <= 1, life.waits_of_a_step
    assert life.trained == sum(life.checkpoint.values()) == trained, "nothing frozen"
