"""kohya's files: an exact round trip, and what diffusers reads from ours."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dermray.generators import adapters, kohya
from dermray.generators.adapter_file import Layer, read_layers
from dermray.generators.base import Request
from dermray.generators.flux_lora import TARGETS, FluxLora, FluxLoraConfig
from dermray.generators.stable_diffusion_lora import StableDiffusionLora, StableDiffusionLoraConfig
from tests.generators.conftest import CAPTIONS, shaken

FLUX = FluxLoraConfig(image_size=32, rank=4, alpha=8, max_sequence_length=16)
SD = StableDiffusionLoraConfig(image_size=32, rank=4, alpha=8)


def placed(state: dict[str, Tensor], transformer: nn.Module, rank: int) -> dict[str, Layer]:
    """A file's layers by the modules of a transformer."""
    place = kohya.flux_place(adapters.adapted_modules(transformer), rank)
    return {
        ours: piece for name, layer in read_layers(save(state)).items() for ours, piece in place(name, layer).items()
    }


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "fresh"])
@pytest.mark.parametrize("targets", list(TARGETS))
def test_flux_goes_there_and_back_exactly(targets: str, trained: bool) -> None:
    """A fresh adapter's B is zero, so that the file alone does not tell which parts of a layer it belongs to."""
    model = FluxLora.from_captions(FLUX.model_copy(update={"targets": targets}), CAPTIONS)
    weights = adapters.lora_weights((shaken(model) if trained else model).transformer)
    there = kohya.flux_to_kohya(weights, 8)
    assert all(name.startswith("lora_unet_") for name in there)
    back = placed(there, model.transformer, 4)
    assert {f"{name}.lora_A.weight".removeprefix("transformer.") for name in back} < weights.keys()
    for name, layer in back.items():
        module = name.removeprefix("transformer.")
        assert torch.equal(layer.down, weights[f"{module}.lora_A.weight"])
        assert torch.equal(layer.up, weights[f"{module}.lora_B.weight"]) and layer.alpha == 8
    assert 2 * len(back) == len(weights)


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
@given(rank=st.integers(1, 5), seed=st.integers(0, 99), alpha=st.sampled_from([None, 1.0, 3.0]))
def test_an_adapter_of_the_whole_layer_is_read_as_one_for_all_its_parts(
    rank: int, seed: int, alpha: float | None
) -> None:
    generator = torch.Generator().manual_seed(seed)
    name, width = "lora_unet_double_blocks_0_img_attn_qkv", 8
    down, up = torch.randn(rank, width, generator=generator), torch.randn(3 * width, rank, generator=generator)
    modules = [f"transformer_blocks.0.attn.to_{part}" for part in "qkv"]
    pieces = kohya.flux_place(modules, rank)(name, Layer(down, up, alpha))
    products = [pieces[f"transformer.{module}"].up @ pieces[f"transformer.{module}"].down for module in modules]
    torch.testing.assert_close(torch.cat(products), up @ down, rtol=1e-4, atol=1e-5)
    assert {(piece.rank, piece.alpha) for piece in pieces.values()} == {(rank, alpha)}


def test_stable_diffusion_goes_there_and_back_and_diffusers_draws_the_same(tmp_path: Path) -> None:
    model = shaken(StableDiffusionLora.from_captions(SD, CAPTIONS))
    model.save(tmp_path)
    model.save_kohya(tmp_path / "kohya.safetensors")
    state = load_file(tmp_path / "kohya.safetensors")
    assert {name.partition("_")[0] + "_" + name.split("_")[1] for name in state} == {"lora_unet", "lora_te"}
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "base")
    pipeline.load_lora_weights(tmp_path / "kohya.safetensors")
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(CAPTIONS[0], generator=torch.Generator().manual_seed(7), height=32, width=32, guidance_scale=3.0,
                      num_inference_steps=3, output_type="pt").images  # fmt: skip
    ours = model.sample([Request(CAPTIONS[0], 7)], 3.0, 3)
    assert ((images * 255).round().int() - ours.int()).abs().max() <= 1
