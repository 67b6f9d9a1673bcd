"""Stable Diffusion LoRA and LDM held to diffusers' schedulers and pipelines."""

from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.training_utils import compute_snr

from dermray.generators import ddpm, frozen, nano
from dermray.generators.base import Request
from dermray.generators.latent_diffusion import LatentDiffusion, LatentDiffusionConfig, geometry
from dermray.generators.latent_unet import LatentUNet
from dermray.generators.stable_diffusion_lora import StableDiffusionLora, StableDiffusionLoraConfig
from tests.generators.conftest import CAPTIONS, shaken

IMAGES = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
REQUESTS = [Request(CAPTIONS[0], 7), Request(CAPTIONS[1], 8)]
LORA = StableDiffusionLoraConfig(image_size=32, rank=4, alpha=8)
FROZEN_TEXT = LORA.model_copy(update={"train_text_encoder": False})
LDM = LatentDiffusionConfig(image_size=32)


def build(config: StableDiffusionLoraConfig | LatentDiffusionConfig) -> LatentUNet:
    cls = StableDiffusionLora if isinstance(config, StableDiffusionLoraConfig) else LatentDiffusion
    return shaken(cls.from_captions(config, CAPTIONS))  # type: ignore[arg-type]  # each its own


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("gamma", [None, 5.0])
@pytest.mark.parametrize("config", [LORA, FROZEN_TEXT, LDM], ids=["lora", "frozen text", "ldm"])
def test_loss_equals_diffusers_on_the_same_tensors(
    config: StableDiffusionLoraConfig | LatentDiffusionConfig, prediction_type: str, gamma: float | None
) -> None:
    """The lines of diffusers' training scripts: add_noise, the scheduler's target, weights from compute_snr."""
    settings = {"prediction_type": prediction_type, "min_snr_gamma": gamma, "caption_dropout": 0.0}
    model = build(config.model_copy(update=settings)).eval()
    batch = model.collate(model.encode(IMAGES, CAPTIONS))
    batch["moments"][:, 4:] = -30
    torch.manual_seed(3)
    with torch.no_grad():
        ours = model(batch)

    pipeline, scheduler = model.pipeline, DDPMScheduler.from_config(model.pipeline.scheduler.config)
    assert scheduler.config.prediction_type == prediction_type
    torch.manual_seed(3)
    latents = batch["moments"][:, :4] * pipeline.vae.config.scaling_factor
    torch.randn_like(latents)  # drawn for the posterior
    noise, t = torch.randn_like(latents), torch.randint(0, 1000, (2,))
    with torch.no_grad():
        text = pipeline.encode_prompt(CAPTIONS, "cpu", 1, False)[0]
        predicted = pipeline.unet(scheduler.add_noise(latents, noise, t), t, text).sample
    target = noise if prediction_type == "epsilon" else scheduler.get_velocity(latents, noise, t)
    errors = (predicted - target).square().mean((1, 2, 3))
    if gamma is not None:
        snr = compute_snr(scheduler, t)
        weights = torch.stack([snr, gamma * torch.ones_like(snr)], 1).min(1)[0]
        errors = errors * weights / (snr if prediction_type == "epsilon" else snr + 1)
    torch.testing.assert_close(ours, errors.mean(), rtol=1e-5, atol=1e-6)


def test_text_that_nobody_trains_is_embedded_once() -> None:
    for config, shape in ((LORA, (77,)), (FROZEN_TEXT, (77, 32)), (LDM, (77, 32))):
        model = build(config)
        assert {tuple(sample["text"].shape) for sample in model.encode(IMAGES, CAPTIONS)} == {shape}
        model.clip.register_forward_hook(lambda *_: pytest.fail("the text encoder ran"))
        if shape != (77,):
            model(model.collate([{"moments": torch.zeros(8, 4, 4), "text": torch.zeros(shape)}] * 2))
    by = [StableDiffusionLora.encoded_by(config) for config in (LORA, FROZEN_TEXT)]
    assert by[0] != by[1], "kept under other names"


def test_what_learns() -> None:
    for config, names in (
        (LORA, ("unet", "clip")),
        (FROZEN_TEXT, ("unet",)),
        (LDM, ("unet",)),
    ):
        model = build(config).train()
        model(model.collate(model.encode(IMAGES, CAPTIONS))).backward()
        learned = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        assert {name.split(".")[0] for name in learned} == set(names)
        assert all(".lora_" in name for name in learned) is isinstance(config, StableDiffusionLoraConfig)
        assert {n for n, p in model.named_parameters() if p.requires_grad} == learned


def test_an_unconditional_model_never_sees_a_caption() -> None:
    model = build(LDM.model_copy(update={"caption_dropout": 1.0})).eval()
    batches = [model.collate(model.encode(IMAGES, captions)) for captions in (CAPTIONS, CAPTIONS[::-1])]
    losses = []
    for batch in batches:
        torch.manual_seed(0)
        losses.append(model(batch).item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("config", [LORA, LDM], ids=["lora", "ldm"])
def test_plain_diffusers_draws_the_same_from_the_exported_folder(
    config: StableDiffusionLoraConfig | LatentDiffusionConfig, tmp_path: Path
) -> None:
    model = build(config)
    model.save(tmp_path)
    ours = model.sample(REQUESTS, 3.0, 4)
    assert ours.shape == (2, 3, 32, 32) and ours.dtype == torch.uint8
    lora = isinstance(config, StableDiffusionLoraConfig)
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "base" if lora else tmp_path)
    if lora:
        pipeline.load_lora_weights(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline).__name__ == "StableDiffusionPipeline"
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    theirs = pipeline(
        CAPTIONS, height=32, width=32, guidance_scale=3.0,
        num_inference_steps=4, output_type="pt", generator=generators,
    ).images  # fmt: skip
    assert ((theirs * 255).round().int() - ours.int()).abs().max() <= 1, "one of 256 levels"
    again = type(model).load(tmp_path).sample(REQUESTS, 3.0, 4)
    assert torch.equal(again, ours)
    alone = model.sample(REQUESTS[1:], 3.0, 4)
    assert (alone[0].int() - ours[1].int()).abs().max() <= 1, "whatever is drawn beside it"


def test_guidance_leads_away_from_a_negative_prompt_as_diffusers_does() -> None:
    model, negative = build(LDM), CAPTIONS[1]
    ours = model.sample([Request(CAPTIONS[0], 7, None, negative)], 3.0, 4)
    theirs = model.pipeline(
        CAPTIONS[0], negative_prompt=negative, height=32, width=32, guidance_scale=3.0, num_inference_steps=4,
        output_type="pt", generator=torch.Generator().manual_seed(7),
    ).images  # fmt: skip
    assert ((theirs * 255).round().int() - ours.int()).abs().max() <= 1, "one of 256 levels"
    assert not torch.equal(ours, model.sample([Request(CAPTIONS[0], 7)], 3.0, 4))


def test_dreambooth_keeps_what_the_base_drew() -> None:
    config = LORA.model_copy(update={"prior_prompt": "a photo of skin", "prior_images": 4, "prior_steps": 2,
                                     "prior_weight": 0.5, "caption_dropout": 0.0})  # fmt: skip
    model = build(config).eval()
    assert isinstance(model, StableDiffusionLora)
    batch = model.collate(model.encode(IMAGES, CAPTIONS))
    with pytest.raises(ValueError, match="its images are missing"):
        model(batch)
    model.keep_prior(StableDiffusionLora.encoder(config, CAPTIONS).draw_prior())
    assert model.prior is not None and model.prior.shape == (4, 8, 4, 4) and model.prior_text is not None
    assert not any(name.startswith("prior") for name in model.state_dict()), (
        "kept in a file of its own, not in checkpoints"
    )
    prior = {"text": model.prior_text[:2]}
    with torch.no_grad():
        torch.manual_seed(0)
        both = model(batch)
        torch.manual_seed(0)
        first = model.losses(batch).mean()
        chosen = torch.randint(4, (2,))
        second = model.losses(prior | {"moments": model.prior[chosen]}).mean()
    torch.testing.assert_close(both, first + 0.5 * second)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_frozen_parts_in_half_precision_leave_the_unet_alone(dtype: str, tmp_path: Path) -> None:
    """A U-Net in training is float32 whatever the parts beside it are, in previews and when it is loaded again."""
    full, half = build(LDM), build(LDM.model_copy(update={"dtype": dtype}))
    half.unet.load_state_dict(full.unet.state_dict())
    drawn, exact = half.sample(REQUESTS, 3.0, 4), full.sample(REQUESTS, 3.0, 4)
    assert (drawn.float() - exact.float()).abs().mean() < 4, "levels of 256"
    half.save(tmp_path)
    again = LatentDiffusion.load(tmp_path)
    assert (again.unet.dtype, again.vae.dtype) == (torch.float32, half.vae.dtype)
    assert torch.equal(again.sample(REQUESTS, 3.0, 4), drawn)


@pytest.mark.parametrize("config", [LORA, LDM], ids=["lora", "ldm"])
def test_sampling_starts_where_training_ended(config: StableDiffusionLoraConfig | LatentDiffusionConfig) -> None:
    scheduler = build(config).pipeline.scheduler
    scheduler.set_timesteps(50)
    assert scheduler.timesteps.tolist() == list(range(999, 0, -20))


def test_ldms_parts_come_from_several_places(tmp_path: Path) -> None:
    """Between them stands a U-Net of Stable Diffusion 1's geometry, at the width of that text."""
    model = build(LDM)
    model.vae.save_pretrained(tmp_path / "vae")
    for part in (model.clip, model.pipeline.tokenizer):
        part.save_pretrained(tmp_path / "clip")
    config = LDM.model_copy(update={"vae": str(tmp_path / "vae"), "text_encoder": str(tmp_path / "clip")})
    assert geometry(config, 512) == {"cross_attention_dim": 512, "sample_size": 4}
    assert not LatentDiffusion.makes_words(config)
    small = config.model_copy(update={"unet": dict(geometry(LDM, 32))})
    other = LatentDiffusion.from_captions(small, ["other words"])
    for ours, theirs in zip(other.encode(IMAGES, CAPTIONS), model.encode(IMAGES, CAPTIONS), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_every_timestep_is_drawn() -> None:
    torch.manual_seed(0)
    found = ddpm.draw_timesteps(100_000, DDPMScheduler(), torch.zeros(1))
    assert found.min() == 0 and found.max() == 999 and len(found.unique()) == 1000


def test_latents_are_diffusers_own_and_are_drawn_compiled_at_any_size() -> None:
    """Buckets have several: the first size is compiled for itself, the second for all. diffusers' `sample` is not."""
    vae = nano.vae()
    draw = torch.compile(frozen.draw_latents, backend="eager", fullgraph=True)
    for side in (4, 8, 6):
        moments = torch.randn(2, 8, side, side + 1)
        torch.manual_seed(side)
        expected = DiagonalGaussianDistribution(moments).sample() * vae.config.scaling_factor
        torch.manual_seed(side)
        assert torch.equal(draw(vae, moments), expected)
