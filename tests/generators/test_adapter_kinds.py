"""DoRA and LoKr: counts by formula, the same pixels in plain diffusers and peft, files as LyCORIS shapes them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import DiffusionPipeline, FluxTransformer2DModel
from peft import LoKrConfig, inject_adapter_in_model, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn

from dermray.config import ConfigError, validate
from dermray.generators import adapters
from dermray.generators.adapter_kind import Kind
from dermray.generators.base import FAMILIES, Request, family
from dermray.generators.flux_lora import TARGETS, FluxLora, FluxLoraConfig
from dermray.generators.stable_diffusion_lora import StableDiffusionLora, StableDiffusionLoraConfig
from tests.generators.conftest import CAPTIONS, FLOW_LORA, shaken

FLUX = FluxLoraConfig(image_size=32, rank=2, alpha=4, max_sequence_length=16, lokr_factor=4)
SD = StableDiffusionLoraConfig(image_size=32, rank=2, alpha=4, lokr_factor=4)
TRIED = ("flux_lora", "stable_diffusion_lora", "sdxl_lora")
FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture(autouse=True)
def _the_same_weights_every_time() -> None:
    """Whatever ran before in this process: of some bases a rounding grows to more than a level."""
    torch.manual_seed(0)


def of_kind(config: Any, kind: Kind) -> Any:
    return config.model_copy(update={"adapter": kind})


def split(side: int, factor: int) -> tuple[int, int]:
    """A layer's side as LoKr's two matrices share it."""
    return (factor, side // factor) if side % factor == 0 else (1, side)


@pytest.mark.parametrize("kind", ["lora", "dora", "lokr"])
def test_parameter_counts_on_flux_dev(kind: Kind) -> None:
    """LoRA r (in + out) a layer, DoRA out more; LoKr f^2 + r (out / f + in / f), or a whole second matrix where a rank
    is no less."""
    with init_empty_weights():
        flux = FluxTransformer2DModel(guidance_embeds=True)
        adapters.add_lora(flux, TARGETS["attention_and_output"], 64, 64, kind, 16)
    count = 0
    for name in adapters.adapted_modules(flux):
        layer: Any = flux.get_submodule(name)
        inside, out = layer.in_features, layer.out_features
        if kind == "lokr":
            (a, c), (b, d) = split(inside, 16), split(out, 16)
            count += a * b + (64 * (c + d) if max(c, d) / 2 > 64 else c * d)
        else:
            count += 64 * (inside + out) + (out if kind == "dora" else 0)
    trained = sum(p.numel() for p in flux.parameters() if p.requires_grad)
    expected = {"lora": 149_422_080, "dora": 149_422_080 + 304 * 3072, "lokr": count}
    assert trained == count == expected[kind]


@pytest.mark.parametrize("kind", ["dora", "lokr"])
@pytest.mark.parametrize("config", [FLUX, SD], ids=["flux", "sd"])
def test_a_fresh_one_adds_nothing_and_only_adapters_learn(config: Any, kind: Kind) -> None:
    cls: Any = FluxLora if config is FLUX else StableDiffusionLora
    torch.manual_seed(0)
    plain, model = cls.from_captions(config, CAPTIONS), cls.from_captions(of_kind(config, kind), CAPTIONS)
    request = [Request(CAPTIONS[0], 1)]
    assert (plain.sample(request, 2.0, 2).int() - model.sample(request, 2.0, 2).int()).abs().max() <= 1
    model.train()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    model(model.collate(model.encode(images, CAPTIONS[:2]))).backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learned == {name for name, p in model.named_parameters() if adapters.ADAPTER.search(name)}


def drawn(pipeline: Any, **options: Any) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    seeds = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    options |= {"height": 32, "width": 32, "num_inference_steps": 3, "output_type": "pt"}
    images: Tensor = pipeline(CAPTIONS[:2], generator=seeds, **options).images
    return (images * 255).round().to(torch.uint8)


def put_by_peft(model: nn.Module, directory: Path, prefix: str) -> None:
    """As docs/adapters.md says, for a part that diffusers does not load itself."""
    from dermray.generators.adapter_file import read_tensors

    tensors, metadata = read_tensors((directory / FILE).read_bytes())
    told = json.loads(metadata["lora_adapter_metadata"])
    settings = {key.removeprefix(f"{prefix}."): value for key, value in told.items() if key.startswith(f"{prefix}.")}
    weights = {key.removeprefix(f"{prefix}."): value for key, value in tensors.items() if key.startswith(f"{prefix}.")}
    inject_adapter_in_model(LoKrConfig(**settings), model, "ours")
    set_peft_model_state_dict(model, weights, "ours")


@pytest.mark.parametrize("kind", ["dora", "lokr"])
def test_plain_diffusers_draws_the_same_of_flux(kind: Kind, tmp_path: Path) -> None:
    model = shaken(FluxLora.from_captions(of_kind(FLUX, kind), CAPTIONS))
    ours = model.sample([Request(c, s) for c, s in zip(CAPTIONS, (7, 8), strict=False)], 3.5, 3)
    model.save(tmp_path)
    assert torch.equal(FluxLora.load(tmp_path).sample([Request(CAPTIONS[0], 7)], 3.5, 3), ours[:1])
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "base")
    without = drawn(pipeline, guidance_scale=3.5, max_sequence_length=16)
    if kind == "lokr":
        pipeline.transformer.load_lora_adapter(tmp_path, weight_name=FILE, prefix="transformer")
    else:
        pipeline.load_lora_weights(tmp_path)
    theirs = drawn(pipeline, guidance_scale=3.5, max_sequence_length=16)
    assert (theirs.int() - ours.int()).abs().max() <= 1, "one of 256 levels"
    assert (without.int() - ours.int()).abs().max() > 3, "the adapter is heard"


@pytest.mark.parametrize("kind", ["dora", "lokr"])
def test_plain_diffusers_draws_the_same_of_stable_diffusion(kind: Kind, tmp_path: Path) -> None:
    model = shaken(StableDiffusionLora.from_captions(of_kind(SD, kind), CAPTIONS))
    ours = model.sample([Request(c, s) for c, s in zip(CAPTIONS, (7, 8), strict=False)], 7.5, 3)
    model.save(tmp_path)
    assert torch.equal(StableDiffusionLora.load(tmp_path).sample([Request(CAPTIONS[0], 7)], 7.5, 3), ours[:1])
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "base")
    without = drawn(pipeline, guidance_scale=7.5)
    if kind == "lokr":
        pipeline.unet.load_lora_adapter(tmp_path, weight_name=FILE, prefix="unet")
        put_by_peft(pipeline.text_encoder, tmp_path, "text_encoder")
    else:
        pipeline.load_lora_weights(tmp_path)
    theirs = drawn(pipeline, guidance_scale=7.5)
    assert (theirs.int() - ours.int()).abs().max() <= 1
    assert (without.int() - ours.int()).abs().max() > 3


def lokr_product(state: dict[str, Tensor], layer: str) -> Tensor:
    """As LyCORIS multiplies it: alpha counts only where a matrix is of low rank."""
    get = lambda part: state.get(f"{layer}.lokr_{part}")  # noqa: E731
    w1, w2 = get("w1"), get("w2")
    scale = 1.0
    if w2 is None:
        a, b = state[f"{layer}.lokr_w2_a"], state[f"{layer}.lokr_w2_b"]
        w2, scale = a @ b, float(state[f"{layer}.alpha"]) / len(b)
    assert w1 is not None
    return torch.kron(w1, w2) * scale


@pytest.mark.parametrize("config", [FLUX, SD], ids=["flux", "sd"])
def test_lokr_goes_into_a_file_of_lycoris(config: Any, tmp_path: Path) -> None:
    cls: Any = FluxLora if config is FLUX else StableDiffusionLora
    model = shaken(cls.from_captions(of_kind(config, "lokr"), CAPTIONS))
    model.save_kohya(tmp_path / "x.safetensors")
    state = load_file(tmp_path / "x.safetensors")
    parts = {"lycoris": model.transformer} if config is FLUX else {"lora_unet": model.unet, "lora_te": model.clip}
    seen = set()
    for prefix, part in parts.items():
        for name in adapters.adapted_modules(part):
            path = name if prefix != "lora_te" or name.startswith("text_model.") else f"text_model.{name}"
            layer = f"{prefix}_{path.replace('.', '_')}"
            torch.testing.assert_close(lokr_product(state, layer), part.get_submodule(name).get_delta_weight("default"))
            seen.add(layer)
    assert seen == {key.rpartition(".")[0] for key in state}


def test_dora_goes_into_a_file_of_stable_diffusion(tmp_path: Path) -> None:
    """W' = length * (W + BA) / |W + BA| a row, as LyCORIS decomposes on the output axis and peft merges."""
    model = shaken(StableDiffusionLora.from_captions(of_kind(SD, "dora"), CAPTIONS))
    model.save_kohya(tmp_path / "x.safetensors")
    state = load_file(tmp_path / "x.safetensors")
    name = adapters.adapted_modules(model.unet)[0]
    layer: Any = model.unet.get_submodule(name)
    key = f"lora_unet_{name.replace('.', '_')}"
    assert state[f"{key}.dora_scale"].shape == (layer.out_features, 1)
    product = state[f"{key}.lora_up.weight"] @ state[f"{key}.lora_down.weight"] * state[f"{key}.alpha"] / 2
    merged = layer.base_layer.weight + product
    merged = state[f"{key}.dora_scale"] * merged / merged.norm(dim=1, keepdim=True)
    layer.merge()
    torch.testing.assert_close(layer.base_layer.weight.detach(), merged.detach())


def test_dora_of_flux_has_no_file_for_comfyui(tmp_path: Path) -> None:
    model = FluxLora.from_captions(of_kind(FLUX, "dora"), CAPTIONS)
    with pytest.raises(ValueError, match="adapter=dora of family flux_lora has no file that ComfyUI reads"):
        model.save_kohya(tmp_path / "x.safetensors")


@pytest.mark.parametrize("kind", ["dora", "lokr"])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name.endswith("_lora") and name not in TRIED])
def test_other_flow_families_learn_save_and_draw_the_same(name: str, kind: Kind, tmp_path: Path) -> None:
    cls: Any = family(name)
    model = shaken(cls.from_captions(cls.Config(**FLOW_LORA, adapter=kind, lokr_factor=4), CAPTIONS))
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    model(model.collate(model.encode(images, CAPTIONS[:2]))).backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())
    model.save(tmp_path)
    request = [Request(CAPTIONS[0], 7)]
    assert torch.equal(cls.load(tmp_path).sample(request, 3.5, 2), model.sample(request, 3.5, 2))
    with pytest.raises(ValueError, match=f"adapter={kind} of family {name} has no file that ComfyUI reads"):
        model.save_kohya(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"adapter": "loha"}, "adapter='loha': Input should be 'lora', 'dora' or 'lokr'"),
        ({"adapter": "dora", "quantization": "nf4"}, "adapter=dora: does not go with quantization=nf4"),
        ({"adapter": "lokr", "start_from": "x.safetensors"}, "start_from=x.safetensors goes on from plain LoRA only"),
        ({"lokr_factor": 0}, "lokr_factor=0: expected a side of 1 or more, or -1"),
    ],
)
def test_what_does_not_go_together(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(FluxLoraConfig, given)
