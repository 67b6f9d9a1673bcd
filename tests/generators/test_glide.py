"""GLIDE held to diffusers' IF pipelines, and to what public fine-tuning code leaves out."""

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from dermray.config import load, preset, validate
from dermray.generators.base import Request
from dermray.generators.glide import Glide, GlideConfig, enlarge, reduce
from tests.generators.conftest import CAPTIONS, shaken

IMAGES = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
REQUESTS = [Request(CAPTIONS[0], 7), Request(CAPTIONS[1], 8)]
CONFIG = GlideConfig(image_size=32, caption_dropout=0.0, upsampler_steps=3)


@pytest.fixture
def model() -> Glide:
    torch.manual_seed(0)
    return shaken(Glide.from_captions(CONFIG, CAPTIONS), 0.02)


def test_every_weight_learns_variances_too(model: Glide) -> None:
    model.train()
    for seed in range(3):
        torch.manual_seed(seed)
        model(model.collate(model.encode(IMAGES, CAPTIONS))).backward()
    for unet in (model.unet, model.upsampler_unet):
        gradient = unet.conv_out.weight.grad.flatten(1).abs().amax(1)
        assert len(gradient) == 6 and (gradient > 0).all()
    silent = [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert silent == []


def test_the_upsampler_sees_the_reduced_image_as_diffusers_shows_it(model: Glide) -> None:
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    low = reduce(images)
    assert low.shape == (1, 3, 8, 8)
    torch.testing.assert_close(low[0, 0, 0, 0], images[0, 0, :4, :4].mean())
    pipeline, seen = model.pipelines[1], list[torch.Tensor]()
    pipeline.unet.register_forward_pre_hook(lambda unet, arguments: seen.append(arguments[0]))
    pipeline(CAPTIONS[0], image=low, noise_level=0, num_inference_steps=1, guidance_scale=1.0, output_type="pt",
             clean_caption=False)  # fmt: skip
    torch.testing.assert_close(seen[0][:, 3:], enlarge(low), rtol=0, atol=1e-6)


def test_plain_diffusers_draws_the_same_from_the_exported_folders(model: Glide, tmp_path: Path) -> None:
    model.save(tmp_path)
    ours = model.sample(REQUESTS, 3.0, 4)
    assert ours.shape == (2, 3, 32, 32)
    base, upsampler = (DiffusionPipeline.from_pretrained(tmp_path / name) for name in ("base", "upsampler"))
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    options = {"generator": generators, "clean_caption": False, "output_type": "pt"}
    low = base(CAPTIONS, guidance_scale=3.0, num_inference_steps=4, **options).images
    assert low.shape == (2, 3, 8, 8)
    images = upsampler(
        CAPTIONS, image=low, noise_level=0, guidance_scale=1.0, num_inference_steps=3, **options
    ).images  # fmt: skip
    theirs = ((images / 2 + 0.5).clamp(0, 1) * 255).round()
    assert (theirs.int() - ours.int()).abs().max() <= 1, "one of 256 levels"
    assert torch.equal(Glide.load(tmp_path).sample(REQUESTS, 3.0, 4), ours)
    alone = model.sample(REQUESTS[1:], 3.0, 4)
    assert (alone[0].int() - ours[1].int()).abs().max() <= 1, "whatever is drawn beside it"


def test_captions_matter_and_dropped_ones_do_not(model: Glide) -> None:
    drawn = [model.sample([Request(caption, 7)], 3.0, 3) for caption in CAPTIONS]
    assert not torch.equal(*drawn)
    always = shaken(Glide.from_captions(CONFIG.model_copy(update={"caption_dropout": 0.999999}), CAPTIONS)).eval()
    losses = []
    for captions in (CAPTIONS, CAPTIONS[::-1]):
        torch.manual_seed(0)
        losses.append(always(always.collate(always.encode(IMAGES, captions))).item())
    assert losses[0] == losses[1]


def test_the_paper_preset_has_glides_geometry() -> None:
    from dermray.training.run import TrainConfig

    given = validate(GlideConfig, load(TrainConfig, preset("train/glide_paper")).model)
    with torch.device("meta"):
        model = Glide.from_captions(given, CAPTIONS)
    unet = model.unet.config
    assert unet.block_out_channels == (192, 384, 576, 768) and unet.layers_per_block == 3 and unet.sample_size == 64
    assert model.upsampler_unet.config.sample_size == 256 and model.upsampler_unet.config.layers_per_block == 2
    assert (given.text_width, given.text_layers, given.text_heads) == (512, 16, 8)
