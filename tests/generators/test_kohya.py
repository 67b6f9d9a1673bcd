"""kohya's files: an exact round trip, and what diffusers reads from ours."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from dermray.generators import adapters, kohya
from dermray.generators.base import Request
from dermray.generators.flux_lora import TARGETS, FluxLora, FluxLoraConfig
from dermray.generators.stable_diffusion_lora import StableDiffusionLora, StableDiffusionLoraConfig
from tests.generators.conftest import CAPTIONS, shaken

FLUX = FluxLoraConfig(image_size=32, rank=4, alpha=8, max_sequence_length=16)
SD = StableDiffusionLoraConfig(image_size=32, rank=4, alpha=8)


@pytest.mark.parametrize("targets", list(TARGETS))
def test_flux_goes_there_and_back_exactly(targets: str) -> None:
    model = shaken(FluxLora.from_captions(FLUX.model_copy(update={"targets": targets}), CAPTIONS))
    weights = adapters.lora_weights(model.transformer)
    there = kohya.flux_to_kohya(weights, 8)
    assert all(name.startswith("lora_unet_") for name in there)
    back, alpha = kohya.flux_from_kohya(there)
    assert alpha == 8 and back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_diffusers_reads_the_same_matrices_at_fluxs_width() -> None:
    """Its reader knows FLUX.1-dev's sizes only, so one double and one single block of them."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for block in ("transformer_blocks.3", "single_transformer_blocks.5"):
        for part in ("to_q", "to_k", "to_v"):
            weights[f"{block}.attn.{part}.lora_A.weight"] = torch.randn(2, 3072, generator=generator)
            weights[f"{block}.attn.{part}.lora_B.weight"] = torch.randn(3072, 2, generator=generator)
    theirs = _convert_kohya_flux_lora_to_diffusers(dict(kohya.flux_to_kohya(weights, 6)))
    for name in {n.rpartition(".lora_")[0] for n in weights}:
        product = theirs[f"transformer.{name}.lora_B.weight"] @ theirs[f"transformer.{name}.lora_A.weight"]
        ours = weights[f"{name}.lora_B.weight"] @ weights[f"{name}.lora_A.weight"] * 6 / 2
        torch.testing.assert_close(product, ours, rtol=1e-4, atol=1e-4)
    rest = theirs["transformer.single_transformer_blocks.5.proj_mlp.lora_B.weight"]
    assert not rest.any(), "what was not adapted stays as it is"


@settings(max_examples=20, deadline=None)
@given(rank=st.integers(1, 5), seed=st.integers(0, 99))
def test_an_adapter_of_the_whole_layer_is_read_as_one_for_all_its_parts(rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    name, width = "lora_unet_double_blocks_0_img_attn_qkv", 8
    down, up = torch.randn(rank, width, generator=generator), torch.randn(3 * width, rank, generator=generator)
    weights, alpha = kohya.flux_from_kohya({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up})
    assert alpha == rank, "without an alpha the scale is 1"
    products = [weights[f"transformer_blocks.0.attn.to_{p}.lora_B.weight"]
                @ weights[f"transformer_blocks.0.attn.to_{p}.lora_A.weight"] for p in "qkv"]  # fmt: skip
    torch.testing.assert_close(torch.cat(products), up @ down, rtol=1e-4, atol=1e-5)


def test_stable_diffusion_goes_there_and_back_and_diffusers_draws_the_same(tmp_path: Path) -> None:
    model = shaken(StableDiffusionLora.from_captions(SD, CAPTIONS))
    model.save(tmp_path)
    model.save_kohya(tmp_path / "kohya.safetensors")
    state = load_file(tmp_path / "kohya.safetensors")
    for part, prefix in ((model.unet, "lora_unet"), (model.clip, "lora_te")):
        weights, names = adapters.lora_weights(part), [name for name, _ in part.named_modules()]
        back, alpha = kohya.unet_from_kohya(state, [n.replace(".base_layer", "") for n in names], prefix)
        assert alpha == 8 and back.keys() == weights.keys()
        assert all(torch.equal(back[name], weights[name]) for name in weights)
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "base")
    pipeline.load_lora_weights(tmp_path / "kohya.safetensors")
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(CAPTIONS[0], generator=torch.Generator().manual_seed(7), height=32, width=32, guidance_scale=3.0,
                      num_inference_steps=3, output_type="pt").images  # fmt: skip
    ours = model.sample([Request(CAPTIONS[0], 7)], 3.0, 3)
    assert ((images * 255).round().int() - ours.int()).abs().max() <= 1


@pytest.mark.parametrize("form", ["diffusers", "kohya"])
@pytest.mark.parametrize(("cls", "config"), [(FluxLora, FLUX), (StableDiffusionLora, SD)], ids=["flux", "sd"])
def test_training_can_start_from_an_adapter(cls: Any, config: Any, form: str, tmp_path: Path) -> None:
    model = shaken(cls.from_captions(config, CAPTIONS))
    model.save(tmp_path)
    model.save_kohya(tmp_path / "kohya.safetensors")
    start = str(tmp_path / ("kohya.safetensors" if form == "kohya" else "pytorch_lora_weights.safetensors"))
    begun = cls.from_captions(config.model_copy(update={"start_from": start}), CAPTIONS)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), begun.parameters(), strict=True))
    with pytest.raises(ValueError, match="alpha 8.0, but model.alpha=3.0|alpha 8, but model.alpha=3.0"):
        cls.from_captions(config.model_copy(update={"start_from": start, "alpha": 3.0}), CAPTIONS)


def test_layers_of_another_model_are_refused() -> None:
    wrong = {"lora_unet_up_blocks_9.lora_down.weight": torch.ones(1, 1)}
    with pytest.raises(ValueError, match="layer 'up_blocks_9', which FLUX's transformer does not have"):
        kohya.flux_from_kohya(wrong)
    with pytest.raises(ValueError, match="layer lora_unet_up_blocks_9, which this model does not have"):
        kohya.unet_from_kohya(wrong, ["mid_block"], "lora_unet")
