"""FLUX.2 [klein] held to its published configs, to diffusers' training script and to diffusers' pipeline."""

from typing import Any

import pytest
from diffusers import Flux2KleinPipeline
from torch import Tensor

from dermray.generators import adapters
from dermray.generators.flux2_klein_lora import Flux2KleinLora
from dermray.generators.published.qwen3 import KLEIN
from tests.generators.conftest import CAPTIONS
from tests.generators.flow_lora import Facts, flow_tests


def script(pipeline: Any, latents: Tensor, text: dict[str, Tensor], timesteps: Tensor, noise: Tensor) -> Tensor:
    """train_dreambooth_lora_flux2_klein.py: the mode in patches, by the batch norm's statistics; guidance is none."""
    norm, kind = pipeline.vae.bn, Flux2KleinPipeline
    std = (norm.running_var.view(1, -1, 1, 1) + pipeline.vae.config.batch_norm_eps).sqrt()
    data = (kind._patchify_latents(latents) - norm.running_mean.view(1, -1, 1, 1)) / std
    sigmas, ids = (timesteps / 1000)[:, None, None, None], kind._prepare_latent_ids(data)
    noisy = (1 - sigmas) * data + sigmas * noise
    predicted = pipeline.transformer(
        hidden_states=kind._pack_latents(noisy), timestep=timesteps / 1000, guidance=None,
        encoder_hidden_states=text["tokens"], txt_ids=kind._prepare_text_ids(text["tokens"]), img_ids=ids,
        return_dict=False,
    )[0]  # fmt: skip
    predicted = kind._unpack_latents_with_ids(predicted[:, : data[0, 0].numel()], ids)
    return (predicted.float() - (noise - data)).square().reshape(len(data), -1).mean(1).mean()


FACTS = Facts(
    Flux2KleinLora, script, published=KLEIN, parameters={"transformer": 3_875_544_576, "text_encoder": 4_022_468_096},
    trained=74_711_040, preset="flux2_klein_lora", settings={"max_sequence_length": 16},
    call={"max_sequence_length": 16},
    buffers=frozenset(f"vae.bn.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")),
    text=512 * 7680 * 2,
)  # fmt: skip
globals().update(flow_tests(FACTS))


def test_a_distilled_base_is_not_guided(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model.led(4.0) == 4.0 and model.led(0.5) == 1.0
    model.pipeline.register_to_config(is_distilled=True)
    assert model.led(4.0) == 1.0
    model.pipeline.register_to_config(is_distilled=False)


@pytest.mark.parametrize(("side", "steps", "mu"), [(512, 4, 2.05), (1024, 50, 2.02), (1024, 4, 2.29)])
def test_the_shift_is_by_size_and_steps(model: Any, side: int, steps: int, mu: float) -> None:
    """Of fewer steps more are near the noise."""
    assert model.shift_mu((side // 16) ** 2, steps) == pytest.approx(mu, abs=0.06)
    assert model.encode_texts(CAPTIONS)[0]["tokens"].shape == (16, 48)


def test_files_for_comfyui_have_the_original_layers() -> None:
    """Names of klein's own checkpoint: queries, keys and values are one, so is a single block's first layer."""
    model = FACTS.model(targets="attention_and_feed_forward")
    state = model.to_kohya(adapters.lora_weights(model.transformer))
    names = {name.removesuffix(".alpha") for name in state if name.endswith(".alpha")}
    double = ["img_attn_qkv", "img_attn_proj", "txt_attn_qkv", "txt_attn_proj", "img_mlp_0", "img_mlp_2", "txt_mlp_0"]
    expected = {f"lora_unet_double_blocks_{block}_{layer}" for block in (0, 1) for layer in [*double, "txt_mlp_2"]}
    assert names == expected | {
        f"lora_unet_single_blocks_{block}_linear{layer}" for block in (0, 1) for layer in (1, 2)
    }
    fused = state["lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight"]
    assert fused.shape == (96, 12) and float(state["lora_unet_double_blocks_0_img_attn_qkv.alpha"]) == 24
