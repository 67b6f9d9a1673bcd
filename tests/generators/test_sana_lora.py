"""SANA held to its published configs, to diffusers' training script and to diffusers' pipeline."""

from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from dermray.config import ConfigError
from dermray.generators.base import Request
from dermray.generators.published.sana import SANA
from dermray.generators.sana_lora import INSTRUCTION, SanaLora
from dermray.training.previews import PreviewConfig, check_previews
from tests.generators.conftest import CAPTIONS
from tests.generators.flow_lora import Facts, flow_tests


def script(pipeline: Any, latents: Tensor, text: dict[str, Tensor], timesteps: Tensor, noise: Tensor) -> Tensor:
    """train_dreambooth_lora_sana.py: latents times a factor, timesteps of 1000, texts with a mask."""
    data, sigmas = latents * pipeline.vae.config.scaling_factor, (timesteps / 1000)[:, None, None, None]
    predicted = pipeline.transformer(
        hidden_states=(1.0 - sigmas) * data + sigmas * noise, encoder_hidden_states=text["tokens"],
        encoder_attention_mask=text["tokens_mask"].long(), timestep=timesteps, return_dict=False,
    )[0]  # fmt: skip
    return (predicted.float() - (noise - data)).square().reshape(len(data), -1).mean(1).mean()


FACTS = Facts(
    SanaLora, script, published=SANA, parameters={"transformer": 1_604_462_752, "text_encoder": 2_614_341_888},
    trained=45_875_200, preset="sana_lora", settings={"max_sequence_length": 40}, side=64,
    call={"max_sequence_length": 40, "use_resolution_binning": False, "complex_human_instruction": None}, layout=False,
)  # fmt: skip
globals().update(flow_tests(FACTS))


@pytest.mark.parametrize("instruction", [False, True])
def test_a_text_is_read_as_its_pipeline_reads_it(instruction: bool) -> None:
    """Which pads each to the same length; what its mask leaves out is not kept here."""
    model = FACTS.model(instruction=instruction)
    theirs, mask, nothing, no_mask = model.pipeline.encode_prompt(
        list(CAPTIONS), True, device="cpu", max_sequence_length=40,
        complex_human_instruction=INSTRUCTION if instruction else None,
    )  # fmt: skip
    *ours, none = model.encode_texts([*CAPTIONS, ""])
    assert len({len(row["tokens"]) for row in ours}) == 2, "of two lengths"
    pairs = zip([*ours, none], [*theirs, nothing[0]], [*mask.bool(), no_mask[0].bool()], strict=True)
    for mine, other, kept in pairs:
        torch.testing.assert_close(mine["tokens"], other[kept], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("instruction", [False, True])
def test_a_long_text_is_cut_where_its_pipeline_cuts_it(instruction: bool) -> None:
    model = FACTS.model(max_sequence_length=8, instruction=instruction)
    theirs, *_ = model.pipeline.encode_prompt(
        CAPTIONS[0], False, device="cpu", max_sequence_length=8,
        complex_human_instruction=INSTRUCTION if instruction else None,
    )  # fmt: skip
    (ours,) = model.encode_texts(CAPTIONS[:1])
    assert len(ours["tokens"]) == 8
    torch.testing.assert_close(ours["tokens"], theirs[0], rtol=1e-5, atol=1e-5)


def test_it_is_led_away_from_a_text_but_not_after_an_instruction(model: Any) -> None:
    plain, led = (Request(CAPTIONS[1], 7, negative_prompt=text) for text in ("", "irregular border, black."))
    drawn = [model.sample([request], 4.5, 2) for request in (plain, led)]
    assert not torch.equal(*drawn)
    instructed = FACTS.model(instruction=True)
    assert model.negative_prompts and not instructed.negative_prompts, "which a service says"
    with pytest.raises(ValueError, match="never puts before a negative prompt"):
        instructed.sample([led], 4.5, 2)
    previews = PreviewConfig(guidance_scale=4.5, negative_prompt="a ruler")
    check_previews(previews, "sana_lora", model.config)
    with pytest.raises(ConfigError, match=r"model.instruction=true stands before every text"):
        check_previews(previews, "sana_lora", instructed.config)


def test_euler_draws_as_its_pipeline_does(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SANA's other scheduler has it, by the same shift."""
    dpm = model.sample([Request(CAPTIONS[0], 7)], 2.0, 4)
    monkeypatch.setattr(model.pipeline, "scheduler", FlowMatchEulerDiscreteScheduler(shift=3.0))
    ours = model.sample([Request(CAPTIONS[0], 7)], 2.0, 4).int()
    theirs = model.pipeline(
        CAPTIONS[0], generator=torch.Generator().manual_seed(7), height=64, width=64, num_inference_steps=4,
        guidance_scale=2.0, output_type="pt", **FACTS.call,
    ).images  # fmt: skip
    assert ((theirs * 255).round().int() - ours).abs().max() <= 1 and not torch.equal(dpm.int(), ours)
    assert model.training_mu(1) == pytest.approx(1.0986, abs=1e-4), "log 3"
