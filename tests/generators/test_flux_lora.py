"""FLUX LoRA held to published parameter counts, diffusers' scheduler and diffusers' pipeline."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import DiffusionPipeline, FluxPipeline, FluxTransformer2DModel
from safetensors import safe_open
from torch import Tensor

from dermray.generators import adapters, flow_matching
from dermray.generators.base import Request
from dermray.generators.flux_lora import TARGETS, FluxLora, FluxLoraConfig
from dermray.generators.published import parts as published
from tests.generators.conftest import CAPTIONS, shaken
from tests.generators.flow_lora import Facts, flow_tests


def script(pipeline: Any, latents: Tensor, text: dict[str, Tensor], timesteps: Tensor, noise: Tensor) -> Tensor:
    """train_dreambooth_lora_flux.py: scale_noise, packed latents, target noise - latents."""
    latents = (latents - pipeline.vae.config.shift_factor) * pipeline.vae.config.scaling_factor
    sigmas = (timesteps / 1000)[:, None, None, None]
    noisy, (b, c, h, w) = (1 - sigmas) * latents + sigmas * noise, latents.shape
    predicted = pipeline.transformer(
        hidden_states=pipeline._pack_latents(noisy, b, c, h, w), timestep=timesteps / 1000, guidance=torch.ones(2),
        pooled_projections=text["pooled"], encoder_hidden_states=text["tokens"],
        txt_ids=torch.zeros(text["tokens"].shape[1], 3),
        img_ids=pipeline._prepare_latent_image_ids(b, h // 2, w // 2, "cpu", torch.float32), return_dict=False,
    )[0]  # fmt: skip
    predicted = pipeline._unpack_latents(predicted, h * 8, w * 8, pipeline.vae_scale_factor)
    return (predicted.float() - (noise - latents)).square().reshape(b, -1).mean(1).mean()


FACTS = Facts(
    FluxLora, script, settings={"max_sequence_length": 16}, call={"max_sequence_length": 16},
    published={
        "transformer": published.FLUX_TRANSFORMER, "vae": published.FLUX_VAE, "scheduler": published.FLUX_SCHEDULER,
        "text_encoder": published.CLIP_VIT_L_14, "text_encoder_2": published.T5_XXL,
    },
    parameters={"transformer": 11_901_408_320, "text_encoder_2": 4_762_310_656},
    trained=104_595_456, preset="flux_lora_paper", plain=False,
    text=512 * 4096 * 2 + 768 * 2,  # the 4 MB a caption that the estimate is made of
)  # fmt: skip
globals().update(flow_tests(FACTS))

CONFIG = FluxLoraConfig(image_size=32, rank=4, alpha=8, max_sequence_length=16)


@pytest.fixture(scope="module")
def flux_dev() -> FluxTransformer2DModel:
    """FLUX.1-dev's geometry without its weights."""
    with init_empty_weights():
        return FluxTransformer2DModel(guidance_embeds=True)


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        ("image_attention", 74_711_040),
        ("attention", 104_595_456),
        ("attention_and_output", 149_422_080),
        ("attention_and_feed_forward", 179_306_496),
        ("all_linear", 346_972_160),
    ],
)
def test_parameter_counts_at_rank_64_on_flux_dev(targets: str, count: int) -> None:
    with init_empty_weights():
        flux = FluxTransformer2DModel(guidance_embeds=True)
        assert sum(p.numel() for p in flux.parameters()) == 11_901_408_320
        adapters.add_lora(flux, TARGETS[targets], 64, 64)
    assert sum(p.numel() for p in flux.parameters() if p.requires_grad) == count


@pytest.mark.parametrize(("side", "mu"), [(128, 0.4675), (256, 0.50), (512, 0.63), (1024, 1.15)])
def test_the_shift_grows_with_resolution(model: FluxLora, side: int, mu: float) -> None:
    assert model.shift_mu((side // 16) ** 2) == pytest.approx(mu, abs=0.005)


def test_the_shift_is_the_samplers() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    t = torch.linspace(0.1, 1, 10).flip(0)
    scheduler.set_timesteps(sigmas=t.tolist(), mu=0.63)
    torch.testing.assert_close(flow_matching.shift(t, 0.63), scheduler.sigmas[:-1], rtol=1e-5, atol=1e-6)


def test_captions_are_dropped_from_each_encoder_by_itself() -> None:
    config = CONFIG.model_copy(update={"clip_dropout": 0.0, "t5_dropout": 0.999999})
    model = shaken(FluxLora.from_captions(config, CAPTIONS)).eval()
    seen: dict[str, torch.Tensor] = {}
    model.velocity = lambda z, s, text, guidance: seen.update(text) or z  # type: ignore
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    batch = model.collate(model.encode(images, CAPTIONS))
    model(batch)
    torch.testing.assert_close(seen["pooled"], batch["pooled"])
    torch.testing.assert_close(seen["tokens"], torch.as_tensor(model.no_tokens).expand_as(seen["tokens"]))
    assert not torch.allclose(batch["tokens"], seen["tokens"])


def test_plain_diffusers_draws_the_same_from_the_exported_adapter(model: FluxLora, tmp_path: Path) -> None:
    model.save(tmp_path)
    requests = [Request(CAPTIONS[0], 7), Request(CAPTIONS[1], 8)]
    ours = model.sample(requests, 3.5, 4)
    assert torch.equal(FluxLora.load(tmp_path).sample(requests, 3.5, 4), ours)

    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "base")
    assert isinstance(pipeline, FluxPipeline)
    pipeline.set_progress_bar_config(disable=True)

    def draw() -> torch.Tensor:
        images = pipeline(
            CAPTIONS, generator=[torch.Generator().manual_seed(seed) for seed in (7, 8)], height=32, width=32,
            guidance_scale=3.5, num_inference_steps=4, max_sequence_length=16, output_type="pt",
        ).images  # fmt: skip
        return (images * 255).round().to(torch.uint8)

    without = draw()
    pipeline.load_lora_weights(tmp_path)
    assert (draw().int() - ours.int()).abs().max() <= 1, "one of 256 levels"
    assert (without.int() - ours.int()).abs().max() > 3, "the adapter is heard"
    with safe_open(tmp_path / "pytorch_lora_weights.safetensors", "pt") as file:
        assert '"transformer.lora_alpha": 8' in file.metadata()["lora_adapter_metadata"]


def test_an_adapter_of_other_layers_is_refused(model: FluxLora, tmp_path: Path) -> None:
    model.save(tmp_path)
    about = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(about.replace('"rank": 4', '"rank": 8'))
    with pytest.raises(
        ValueError, match="does not fit: expected .* differs is .*lora_A.*: \\(4, 32\\) here, \\(8, 32\\)"
    ):
        FluxLora.load(tmp_path)
