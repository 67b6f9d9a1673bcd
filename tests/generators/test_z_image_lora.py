"""Z-Image held to its published configs, to diffusers' training script and to diffusers' pipeline."""

from typing import Any

import torch
from torch import Tensor

from dermray.generators.base import Request
from dermray.generators.published.qwen3 import Z_IMAGE
from dermray.generators.z_image_lora import ZImageLora
from tests.generators.conftest import CAPTIONS
from tests.generators.flow_lora import Facts, flow_tests


def script(pipeline: Any, latents: Tensor, text: dict[str, Tensor], timesteps: Tensor, noise: Tensor) -> Tensor:
    """train_dreambooth_lora_z_image.py: lists, time (1000 - t) / 1000, the prediction negated."""
    data = (latents - pipeline.vae.config.shift_factor) * pipeline.vae.config.scaling_factor
    sigmas = (timesteps / 1000)[:, None, None, None]
    noisy = (1 - sigmas) * data + sigmas * noise
    prompts = [row[mask] for row, mask in zip(text["tokens"], text["tokens_mask"], strict=True)]
    predicted = pipeline.transformer(
        list(noisy.unsqueeze(2).unbind(0)), (1000 - timesteps) / 1000, prompts, return_dict=False
    )[0]
    predicted = -torch.stack(predicted).squeeze(2)
    return (predicted.float() - (noise - data)).square().reshape(len(data), -1).mean(1).mean()


FACTS = Facts(
    ZImageLora, script, published=Z_IMAGE, parameters={"transformer": 6_154_908_736, "text_encoder": 4_022_468_096},
    trained=66_846_720, preset="z_image_lora", settings={"max_sequence_length": 40}, call={"max_sequence_length": 40},
    scales=(0.0, 3.5), waits=2,
)  # fmt: skip
globals().update(flow_tests(FACTS))


def test_a_text_is_read_as_its_pipeline_reads_it(model: Any) -> None:
    """Which pads each to the same length and takes the padding off again."""
    theirs, _ = model.pipeline.encode_prompt(list(CAPTIONS), "cpu", False, max_sequence_length=40)
    ours = model.encode_texts(CAPTIONS)
    assert len({len(row["tokens"]) for row in ours}) == 2, "of two lengths"
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine["tokens"], other, rtol=1e-5, atol=1e-5)


def test_it_is_led_away_from_a_text(model: Any) -> None:
    plain, led = (Request(CAPTIONS[1], 7, negative_prompt=text) for text in ("", "irregular border, black."))
    drawn = [model.sample([request], 4.0, 2) for request in (plain, led)]
    assert not torch.equal(*drawn)
    assert torch.equal(*(model.sample([request], 0.0, 2) for request in (plain, led))), "not without guidance"
