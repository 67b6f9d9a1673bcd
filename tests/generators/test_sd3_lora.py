"""Stable Diffusion 3.5 held to what every flow family must do, to published counts, and to diffusers without T5."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import DiffusionPipeline, SD3Transformer2DModel, StableDiffusion3Pipeline
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pad

from dermray.generators import adapters
from dermray.generators.base import Request
from dermray.generators.published import stability as published
from dermray.generators.sd3_lora import TARGETS, Sd3Lora
from dermray.training.caption_cache import to_bytes
from tests.generators.conftest import CAPTIONS
from tests.generators.flow_lora import Facts, flow_tests


def script(pipeline: Any, latents: Tensor, text: dict[str, Tensor], timesteps: Tensor, noise: Tensor) -> Tensor:
    """train_dreambooth_lora_sd3.py: noise levels as its scheduler numbers them, no preconditioning, no weights."""
    latents = (latents - pipeline.vae.config.shift_factor) * pipeline.vae.config.scaling_factor
    sigmas = (timesteps / 1000)[:, None, None, None]
    clip = pad(text["clip"], (0, text["tokens"].shape[-1] - text["clip"].shape[-1]))
    predicted = pipeline.transformer(
        hidden_states=(1.0 - sigmas) * latents + sigmas * noise, timestep=timesteps,
        encoder_hidden_states=torch.cat([clip, text["tokens"]], -2), pooled_projections=text["pooled"],
        return_dict=False,
    )[0]  # fmt: skip
    return (predicted.float() - (noise - latents)).square().reshape(len(latents), -1).mean(1).mean()


FACTS = Facts(
    Sd3Lora, script, settings={"max_sequence_length": 16}, call={"max_sequence_length": 16},
    published=published.SD_35_MEDIUM,
    parameters={
        "transformer": 2_243_171_520, "text_encoder": 123_650_304, "text_encoder_2": 694_659_840,
        "text_encoder_3": 4_762_310_656,
    },
    trained=47_775_744, preset="sd3_lora", plain=False,  # diffusers reads no alpha of this model
    text=(2048 + 77 * 2048 + 256 * 4096) * 2,
)  # fmt: skip
globals().update(flow_tests(FACTS))
IMAGES = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_only_adapters_learn() -> None:
    """The last block's context is read by nobody, so its queries learn nothing; diffusers' script adapts them too."""
    model = FACTS.model().train()
    model(model.collate(model.encode(IMAGES, CAPTIONS))).backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    adapted = {name for name, p in model.named_parameters() if ".lora_" in name}
    assert {name for name, p in model.named_parameters() if p.grad is not None} == adapted, "none that DDP waits for"
    idle = {name for name in adapted if "transformer_blocks.2.attn.add_q_proj" in name}
    assert len(idle) == 2 and learned == adapted - idle


@pytest.mark.slow
@pytest.mark.parametrize(
    ("targets", "count"),
    [
        ("image_attention", 47_316_992),
        ("attention", 94_322_688),
        ("attention_and_feed_forward", 211_058_688),
    ],
)
def test_parameter_counts_at_rank_64_on_large(targets: str, count: int) -> None:
    with init_empty_weights():
        large = SD3Transformer2DModel(**published.SD_35_LARGE_TRANSFORMER)
        assert sum(p.numel() for p in large.parameters()) == 8_056_627_520
        adapters.add_lora(large, TARGETS[targets], 64, 64)
    assert sum(p.numel() for p in large.parameters() if p.requires_grad) == count


def test_a_text_is_encoded_as_diffusers_encodes_it(model: Sd3Lora) -> None:
    text = model.collate(model.encode_texts(CAPTIONS))
    tokens, _, pooled, _ = model.pipeline.encode_prompt(CAPTIONS, None, None, "cpu", 1, False, max_sequence_length=16)
    seen: dict[str, Tensor] = {}
    forward = model.transformer.forward

    def keep(**given: Tensor) -> Any:
        seen.update(given)
        return forward(**given)

    model.transformer.forward = keep
    try:
        with torch.no_grad():
            model.velocity(torch.randn(2, 16, 4, 4), torch.tensor([0.3, 0.7]), text, torch.ones(2))
    finally:
        model.transformer.forward = forward
    torch.testing.assert_close(seen["encoder_hidden_states"], tokens)
    torch.testing.assert_close(seen["pooled_projections"], pooled)


def test_noise_levels_are_shifted_by_three_at_any_size(model: Sd3Lora) -> None:
    latents = torch.zeros(4000, 16, 4, 4)
    torch.manual_seed(0)
    sigma = model.draw_sigmas(latents)
    torch.manual_seed(0)
    plain = torch.sigmoid(torch.randn(4000))
    torch.testing.assert_close(sigma, 3 * plain / (1 + 2 * plain))


def test_both_clips_are_left_out_together_and_t5_by_itself() -> None:
    model, seen = FACTS.model(clip_dropout=0.999999, t5_dropout=0.0), dict[str, Tensor]()
    model.velocity = lambda z, s, text, guidance: seen.update(text) or z
    batch = model.collate(model.encode(IMAGES, CAPTIONS))
    model(batch)
    assert torch.equal(seen["tokens"], batch["tokens"])
    for name in ("pooled", "clip"):
        assert torch.equal(seen[name], getattr(model, f"no_{name}").expand_as(seen[name]))
        assert not torch.allclose(batch[name], seen[name])


def test_without_t5_it_draws_what_diffusers_draws_without_t5(tmp_path: Path) -> None:
    model = FACTS.model(use_t5=False)
    assert model.t5 is None
    for text in model.encode_texts(CAPTIONS):
        kept = load_bytes(to_bytes(text))
        assert kept["tokens"].shape == (0, 0) and all(torch.equal(value, text[name]) for name, value in kept.items())
    assert [reader.name for reader in Sd3Lora.readers(model.config, CAPTIONS)] == ["clip", "clip_2"]
    model.save(tmp_path)
    ours = model.sample([Request(CAPTIONS[0], 7)], 3.5, 3)
    assert torch.equal(Sd3Lora.load(tmp_path).sample([Request(CAPTIONS[0], 7)], 3.5, 3), ours)
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "base", text_encoder_3=None, tokenizer_3=None)
    pipeline.load_lora_weights(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    assert isinstance(pipeline, StableDiffusion3Pipeline) and pipeline.text_encoder_3 is None
    theirs = pipeline(
        CAPTIONS[0], generator=torch.Generator().manual_seed(7), height=32, width=32, num_inference_steps=3,
        guidance_scale=3.5, max_sequence_length=16, output_type="pt",
    ).images  # fmt: skip
    assert ((theirs * 255).round().int() - ours).abs().max() <= 1, "one of 256 levels"
    model.train()(model.collate(model.encode(IMAGES, CAPTIONS))).backward()


def test_guidance_leads_away_from_a_negative_prompt_as_diffusers_does(model: Sd3Lora) -> None:
    ours = model.sample([Request(CAPTIONS[0], 7, None, CAPTIONS[1])], 3.5, 3)
    theirs = model.pipeline(
        CAPTIONS[0], negative_prompt=CAPTIONS[1], generator=torch.Generator().manual_seed(7), height=32, width=32,
        num_inference_steps=3, guidance_scale=3.5, max_sequence_length=16, output_type="pt",
    ).images  # fmt: skip
    assert ((theirs * 255).round().int() - ours).abs().max() <= 1, "one of 256 levels"
    assert not torch.equal(ours, model.sample([Request(CAPTIONS[0], 7)], 3.5, 3))


def test_a_base_may_lack_t5_but_no_clip(saved: Path, tmp_path: Path) -> None:
    def base_without(*folders: str) -> str:
        base = tmp_path / "-".join(folders)
        base.mkdir()
        index = json.loads((saved / "base" / "model_index.json").read_text())
        for part in (saved / "base").iterdir():
            if part.name not in (*folders, "model_index.json"):
                (base / part.name).symlink_to(part)
        (base / "model_index.json").write_text(json.dumps(index | {folder: [None, None] for folder in folders}))
        return str(base)

    without_t5 = base_without("text_encoder_3", "tokenizer_3")
    with pytest.raises(ValueError, match=r"lacks text_encoder_3, tokenizer_3; .*model\.use_t5=false.*what is lost is"):
        Sd3Lora.check_start(FACTS.config(base=without_t5))
    config = FACTS.config(base=without_t5, use_t5=False)
    Sd3Lora.check_start(config)
    assert Sd3Lora.from_captions(config, []).t5 is None
    clipless = base_without("text_encoder_2", "text_encoder_3", "tokenizer_3")
    for use_t5 in (True, False):
        with pytest.raises(ValueError, match="it lacks text_encoder_2") as refused:
            Sd3Lora.check_start(FACTS.config(base=clipless, use_t5=use_t5))
        assert "use_t5" not in str(refused.value)


def test_comfyui_finds_every_layer_under_a_name_that_it_knows(model: Sd3Lora, tmp_path: Path) -> None:
    """comfy/lora.py: `transformer.` and a name of diffusers' for each weight of the MMDiT, with `.alpha` beside."""
    model.save_kohya(tmp_path / "adapter.safetensors")
    tensors = load_file(tmp_path / "adapter.safetensors")
    known = {f"transformer.{n.removesuffix('.weight')}" for n, _ in FACTS.model().pipeline.transformer.named_modules()}
    known = {name.replace(".base_layer", "") for name in known}
    layers = {name.rpartition(".lora_")[0] for name in tensors if ".lora_" in name}
    assert layers <= known and any(".attn2." in layer for layer in layers)
    assert all(float(tensors[f"{layer}.alpha"]) == 8 for layer in layers) and len(tensors) == 3 * len(layers)


@pytest.mark.parametrize("use_t5", [True, False])
def test_what_is_kept_of_a_caption_depends_on_t5(use_t5: bool) -> None:
    by = Sd3Lora.encoded_by(FACTS.config(use_t5=use_t5))
    assert by is not None and (by != Sd3Lora.encoded_by(FACTS.config(use_t5=not use_t5)))
