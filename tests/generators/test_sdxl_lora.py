"""Stable Diffusion XL held to diffusers' training script, pipeline and reader of kohya's files, and to published
sizes."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, StableDiffusionXLPipeline
from diffusers.training_utils import compute_snr
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dermray.config import ConfigError, load, preset, validate
from dermray.generators import adapters, bare, kohya, nano
from dermray.generators.base import Request
from dermray.generators.published import stability as published
from dermray.generators.published.bases import write_base
from dermray.generators.sdxl_lora import SdxlLora, SdxlLoraConfig
from dermray.training.run import TrainConfig
from tests.generators.conftest import CAPTIONS, shaken
from tests.generators.fake_device import FakeDevice, live

CONFIG = SdxlLoraConfig(image_size=32, rank=4, alpha=8)
WITH_TEXT = CONFIG.model_copy(update={"train_text_encoder": True})
IMAGES = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
REQUESTS = [Request(CAPTIONS[0], 7), Request(CAPTIONS[1], 8)]


def build(config: SdxlLoraConfig = CONFIG, **changes: Any) -> SdxlLora:
    torch.manual_seed(0)
    return shaken(SdxlLora.from_captions(config.model_copy(update=changes), CAPTIONS)).eval()


@pytest.fixture(scope="module")
def model() -> SdxlLora:
    return build(WITH_TEXT)


@pytest.fixture(scope="module")
def saved(model: SdxlLora, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("saved")
    model.save(directory)
    return directory


def draw(pipeline: Any, **options: Any) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    images: Tensor = pipeline(
        CAPTIONS, generator=[torch.Generator().manual_seed(seed) for seed in (7, 8)], height=32, width=32,
        num_inference_steps=4, guidance_scale=3.0, output_type="pt", **options,
    ).images  # fmt: skip
    return (images * 255).round().int()


@pytest.mark.parametrize("learns", [False, True], ids=["frozen text", "both texts learn"])
@pytest.mark.parametrize(("prediction_type", "gamma"), [("epsilon", None), ("v_prediction", None), ("epsilon", 5.0)])
def test_the_loss_is_that_of_diffusers_script(learns: bool, prediction_type: Any, gamma: float | None) -> None:
    """train_dreambooth_lora_sdxl.py: both CLIPs' states before the last layer, size conditioning, add_noise."""
    model = build(CONFIG, train_text_encoder=learns, prediction_type=prediction_type, min_snr_gamma=gamma,
                  caption_dropout=0.0)  # fmt: skip
    batch = model.collate(model.encode(IMAGES, CAPTIONS))
    batch["moments"][:, 4:] = -30  # no variance: latents are their mean
    torch.manual_seed(3)
    with torch.no_grad():
        ours = model(batch)
    pipeline = model.pipeline
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    assert scheduler.config.prediction_type == prediction_type
    torch.manual_seed(3)
    model_input = batch["moments"][:, :4] * pipeline.vae.config.scaling_factor
    torch.randn_like(model_input)  # drawn for the posterior
    noise, timesteps = torch.randn_like(model_input), torch.randint(0, 1000, (2,))
    with torch.no_grad():
        states, _, pooled, _ = pipeline.encode_prompt(CAPTIONS, None, "cpu", 1, False)
        time_ids = torch.tensor([[32, 32, 0, 0, 32, 32]] * 2, dtype=states.dtype)
        predicted = pipeline.unet(
            scheduler.add_noise(model_input, noise, timesteps), timesteps, states,
            added_cond_kwargs={"time_ids": time_ids, "text_embeds": pooled}, return_dict=False,
        )[0]  # fmt: skip
    target = noise if prediction_type == "epsilon" else scheduler.get_velocity(model_input, noise, timesteps)
    losses = (predicted.float() - target.float()).square().mean((1, 2, 3))
    if gamma is not None:
        snr = compute_snr(scheduler, timesteps)
        losses = losses * torch.stack([snr, gamma * torch.ones_like(timesteps)], 1).min(1)[0] / snr
    torch.testing.assert_close(ours, losses.mean(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("learns", "parts"), [(False, {"unet"}), (True, {"unet", "clip", "clip_2"})], ids=["frozen text", "texts learn"]
)
def test_all_adapters_learn_and_nothing_else(learns: bool, parts: set[str]) -> None:
    model = build(CONFIG, train_text_encoder=learns, caption_dropout=0.0).train()
    model(model.collate(model.encode(IMAGES, CAPTIONS))).backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert learned == {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in learned} == parts and all(".lora_" in name for name in learned)


def test_it_is_told_the_size_of_its_bucket(model: SdxlLora) -> None:
    told = model.conditions({"moments": torch.zeros(3, 8, 8, 6), "text": model.nothing.expand(3, 2, 77)})[-1]
    assert told.tolist() == [[64.0, 48.0, 0.0, 0.0, 64.0, 48.0]] * 3
    assert model.conditions_of("red", 48)[-1].tolist() == [[48.0, 48.0, 0.0, 0.0, 48.0, 48.0]]


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("zeros", [True, False], ids=["zeros", "an empty text"])
def test_captions_are_left_out_of_both_texts_together(learns: bool, zeros: bool) -> None:
    model = build(CONFIG, train_text_encoder=learns, caption_dropout=1.0)
    model.pipeline.register_to_config(force_zeros_for_empty_prompt=zeros)
    with torch.no_grad():
        shown = model.conditions(model.collate(model.encode(IMAGES, CAPTIONS)))[:2]
        empty = model._embedded(model._ids([""]))
    for given, nothing in zip(shown, empty, strict=True):
        torch.testing.assert_close(given, (torch.zeros_like(nothing) if zeros else nothing).expand_as(given))


def test_plain_diffusers_draws_the_same(model: SdxlLora, saved: Path) -> None:
    ours = model.sample(REQUESTS, 3.0, 4)
    assert torch.equal(SdxlLora.load(saved).sample(REQUESTS, 3.0, 4), ours)
    pipeline = DiffusionPipeline.from_pretrained(saved / "base")
    assert isinstance(pipeline, StableDiffusionXLPipeline)
    without = draw(pipeline)
    pipeline.load_lora_weights(saved)
    assert (draw(pipeline) - ours).abs().max() <= 1, "one of 256 levels"
    assert (without - ours).abs().max() > 3, "the adapter is heard"
    led = model.sample([Request(r.prompt, r.seed, None, "ruler") for r in REQUESTS], 3.0, 4)
    assert (draw(pipeline, negative_prompt=["ruler"] * 2) - led).abs().max() <= 1
    assert not torch.equal(led, ours)


def test_diffusers_draws_the_same_from_kohyas_layout_and_it_is_read_back(
    model: SdxlLora, saved: Path, tmp_path: Path
) -> None:
    """Its layers have the names of SDXL's original blocks, as kohya's scripts write them."""
    file = tmp_path / "kohya.safetensors"
    model.save_kohya(file)
    names = {name.partition(".")[0] for name in load_file(file)}
    assert "lora_unet_input_blocks_3_1_transformer_blocks_1_attn2_to_k" in names
    assert "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_out_0" in names
    assert "lora_te1_text_model_encoder_layers_0_self_attn_q_proj" in names
    assert "lora_te2_text_model_encoder_layers_1_self_attn_out_proj" in names
    pipeline = DiffusionPipeline.from_pretrained(saved / "base")
    pipeline.load_lora_weights(tmp_path, weight_name=file.name)
    assert (draw(pipeline) - model.sample(REQUESTS, 3.0, 4)).abs().max() <= 1, "one of 256 levels"
    config = WITH_TEXT.model_copy(update={"start_from": str(file)})
    SdxlLora.check_start(config)
    back = SdxlLora.from_captions(config, CAPTIONS)
    for name, part in model.adapted().items():
        theirs = adapters.lora_weights(back.adapted()[name])
        assert all(torch.equal(value, theirs[key]) for key, value in adapters.lora_weights(part).items())
    diffusers_file = WITH_TEXT.model_copy(update={"start_from": str(saved / adapters.LORA_FILE)})
    again = SdxlLora.from_captions(diffusers_file, CAPTIONS)
    assert all(torch.equal(p, q) for p, q in zip(back.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("down_blocks.1.attentions.0", "input_blocks.4.1"),
        ("down_blocks.2.attentions.1", "input_blocks.8.1"),
        ("mid_block.attentions.0", "middle_block.1"),
        ("up_blocks.0.attentions.2", "output_blocks.2.1"),
        ("up_blocks.1.attentions.0", "output_blocks.3.1"),
    ],
)
def test_blocks_are_numbered_as_sdxls_authors_number_them(ours: str, theirs: str) -> None:
    layer = "transformer_blocks.1.attn1.to_q"
    assert kohya.original_block(f"{ours}.{layer}", 2) == f"{theirs}.{layer}"
    assert kohya.original_block(f"{ours}.{layer}", None) == f"{ours}.{layer}"


def test_the_autoencoder_stays_in_full_precision_unless_it_is_a_mended_one(tmp_path: Path) -> None:
    half = build(CONFIG, dtype="fp16")
    assert (half.vae.dtype, half.unet.dtype, half.clip_2.dtype) == (torch.float32, torch.float16, torch.float16)
    nano.vae(scaling_factor=0.13025, force_upcast=False).save_pretrained(tmp_path)
    config = CONFIG.model_copy(update={"dtype": "bf16", "vae": str(tmp_path)})
    SdxlLora.check_start(config)
    mended = SdxlLora.from_captions(config, CAPTIONS)
    assert mended.vae is mended.pipeline.vae and mended.vae.dtype == torch.bfloat16
    by = [SdxlLora.encoded_by(c) for c in (config, CONFIG, WITH_TEXT)]
    assert by[0] != by[1] != by[2], "kept under other names"


def test_encoded_ahead_it_trains_without_reading_a_text() -> None:
    model = build()
    images, texts = model.encode_images(IMAGES), model.encode_texts(CAPTIONS)
    whole = model.encode(IMAGES, CAPTIONS)
    for ours, image, text in zip(whole, images, texts, strict=True):
        assert ours.keys() == (image | text).keys() and all(torch.equal(v, ours[k]) for k, v in (image | text).items())
    for part in (model.clip, model.clip_2, model.vae):
        part.register_forward_hook(lambda *_: pytest.fail("it was read again"))
    model(model.collate(whole))


def test_dreambooth_keeps_pooled_vectors_too() -> None:
    config = CONFIG.model_copy(
        update={"prior_prompt": "skin", "prior_images": 3, "prior_steps": 2, "caption_dropout": 0.0}
    )
    model = build(config)
    prior = SdxlLora.encoder(config, CAPTIONS).draw_prior()
    assert {name: len(value) for name, value in prior.items()} == {"moments": 3, "text": 3, "pooled": 3}
    batch = model.collate(model.encode(IMAGES, CAPTIONS))
    with pytest.raises(ValueError, match="its images are missing"):
        model(batch)
    model.keep_prior(prior)
    with torch.no_grad():
        torch.manual_seed(0)
        both = model(batch)
        torch.manual_seed(0)
        first, chosen = model.losses(batch).mean(), torch.randint(3, (2,))
        second = model.losses({name: value[chosen] for name, value in prior.items()}).mean()
    torch.testing.assert_close(both, first + second)


def test_what_is_no_base_of_this_family_is_refused(saved: Path, tmp_path: Path) -> None:
    other = write_base(tmp_path / "sd", "StableDiffusionPipeline", {"unet": {}})
    with pytest.raises(ValueError, match="expected a StableDiffusionXLPipeline .* or family=stable_diffusion_lora"):
        SdxlLora.check_start(CONFIG.model_copy(update={"base": other}))
    for folder in ("text_encoder", "text_encoder_2", "tokenizer_2"):
        base = tmp_path / folder
        base.mkdir()
        for part in (saved / "base").iterdir():
            if part.name != folder:
                (base / part.name).symlink_to(part)
        with pytest.raises(ValueError, match=f"and it lacks {folder}"):
            SdxlLora.check_start(CONFIG.model_copy(update={"base": str(base)}))
    file = tmp_path / "sd_xl_base_1.0.safetensors"
    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="got a single file; give the folder that has model_index.json"):
        SdxlLora.check_start(CONFIG.model_copy(update={"base": str(file)}))


def test_latents_that_are_normalised_otherwise_are_refused(tmp_path: Path) -> None:
    vae = nano.vae(latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
    vae.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="normalised by latents_mean and latents_std"):
        SdxlLora.from_captions(CONFIG.model_copy(update={"vae": str(tmp_path)}), CAPTIONS)


def test_an_adapter_of_another_base_is_refused(saved: Path, tmp_path: Path) -> None:
    weights = load_file(saved / adapters.LORA_FILE)
    wide = {name: value.repeat(1, 2) if ".lora_A." in name else value for name, value in weights.items()}
    save_file(wide, tmp_path / "wide.safetensors")
    with pytest.raises(ValueError, match=r"made for another base model: .* \(in, out\) channels in the file"):
        SdxlLora.check_start(
            WITH_TEXT.model_copy(update={"start_from": str(tmp_path / "wide.safetensors"), "alpha": 4})
        )
    with pytest.raises(ValueError, match="adapters of a text encoder, which this run does not train: .*sdxl_lora"):
        SdxlLora.check_start(CONFIG.model_copy(update={"start_from": str(saved / adapters.LORA_FILE)}))


def test_sizes_and_few_bits(model: SdxlLora) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        SdxlLoraConfig(image_size=40)
    with pytest.raises(ValueError, match="size=36: this model draws multiples of 8 px"):
        model.sample([Request("red", 0, 36)], 1.0, 1)
    with pytest.raises(ConfigError, match="quantization"):
        validate(SdxlLoraConfig, {"quantization": "nf4"})


@pytest.mark.slow
def test_full_size(tmp_path: Path) -> None:
    """Two training steps, a validation, drawings, as the preset says, by the published configs."""
    given = load(TrainConfig, preset("train/sdxl_lora"), [])
    base = write_base(tmp_path, "StableDiffusionXLPipeline", published.SDXL)
    config: Any = validate(SdxlLoraConfig, given.model | {"base": base})
    with FakeDevice() as device:
        model: Any = bare.build("sdxl_lora", config, CAPTIONS, device.take)
        counts = [_parameters(model.pipeline, part) for part in ("unet", "text_encoder", "text_encoder_2", "vae")]
        assert counts == [2_567_463_684, 123_060_480, 694_659_840, 83_653_863]
        life = live(device, model, given.loop.counted(10_000), 5.0, 2)
    assert life.drawn.shape == (2, 3, 1024, 1024) and life.drawn.dtype == torch.uint8
    assert len(life.waits_of_a_step) <= 1, life.waits_of_a_step
    assert life.trained == 92_897_280 and {p.dtype for p in life.state.trained} == {torch.float32}
    assert all(re.search(r"\.lora_[AB]\.", name) for name in life.checkpoint)


def _parameters(pipeline: Any, part: str) -> int:
    module: nn.Module = getattr(pipeline, part)
    return sum(p.numel() for name, p in module.named_parameters() if ".lora_" not in name)
