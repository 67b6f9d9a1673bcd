"""Qwen-Image held to its published configs, to diffusers' training script and to diffusers' pipeline."""

from typing import Any

import torch
from diffusers import QwenImagePipeline
from torch import Tensor

from dermray.generators.base import Request
from dermray.generators.published.qwen_image import QWEN_IMAGE
from dermray.generators.qwen_image_lora import AFTER, BEFORE, QwenImageLora
from tests.generators.conftest import CAPTIONS
from tests.generators.flow_lora import Facts, flow_tests


def script(pipeline: Any, latents: Tensor, text: dict[str, Tensor], timesteps: Tensor, noise: Tensor) -> Tensor:
    """train_dreambooth_lora_qwen_image.py: latents of five axes, (x - mean) * (1 / std), packed, texts with a mask."""
    config, side = pipeline.vae.config, 2 ** len(pipeline.vae.temperal_downsample)
    mean, std = (torch.tensor(config[f"latents_{part}"]).view(1, config.z_dim, 1, 1, 1) for part in ("mean", "std"))
    data, noise = (latents.unsqueeze(2) - mean) * (1.0 / std), noise.unsqueeze(2)
    sigmas = (timesteps / 1000)[:, None, None, None, None]
    noisy = ((1.0 - sigmas) * data + sigmas * noise).permute(0, 2, 1, 3, 4)
    b, _, c, h, w = noisy.shape
    predicted = pipeline.transformer(
        hidden_states=QwenImagePipeline._pack_latents(noisy, b, c, h, w), encoder_hidden_states=text["tokens"],
        encoder_hidden_states_mask=text["tokens_mask"].long(), timestep=timesteps / 1000,
        img_shapes=[(1, h // 2, w // 2)] * b, return_dict=False,
    )[0]  # fmt: skip
    predicted = QwenImagePipeline._unpack_latents(predicted, h * side, w * side, side)
    return (predicted.float() - (noise - data)).square().reshape(b, -1).mean(1).mean()


FACTS = Facts(
    QwenImageLora, script, published=QWEN_IMAGE,
    parameters={"transformer": 20_430_401_088, "text_encoder": 8_292_166_656}, trained=187_957_248,
    preset="qwen_image_lora", settings={"max_sequence_length": 40},
    call={"max_sequence_length": 40, "negative_prompt": ""}, told=lambda scale: {"true_cfg_scale": scale},
)  # fmt: skip
globals().update(flow_tests(FACTS))


def test_a_text_is_read_as_its_pipeline_reads_it(model: Any) -> None:
    """Inside the template, whose first tokens are dropped; padding is taken off here."""
    words = model.pipeline.tokenizer
    around = words([model.pipeline.prompt_template_encode.format(text) for text in ("", CAPTIONS[1])]).input_ids
    assert [len(row) for row in around] == [BEFORE + AFTER, BEFORE + AFTER + len(words(CAPTIONS[1]).input_ids)]
    theirs, mask = model.pipeline.encode_prompt(list(CAPTIONS), "cpu", max_sequence_length=40)
    ours = model.encode_texts(CAPTIONS)
    assert len({len(row["tokens"]) for row in ours}) == 2, "of two lengths"
    for mine, other, own in zip(ours, theirs, mask.bool(), strict=True):
        torch.testing.assert_close(mine["tokens"], other[own], rtol=1e-5, atol=1e-5)


def test_a_long_text_is_cut_where_its_pipeline_cuts_it() -> None:
    model = FACTS.model(max_sequence_length=8)
    theirs, _ = model.pipeline.encode_prompt(CAPTIONS[0], "cpu", max_sequence_length=8)
    (ours,) = model.encode_texts(CAPTIONS[:1])
    assert ours["tokens"].shape == (8, 16) and torch.equal(ours["tokens"], theirs[0])


def test_it_is_led_away_from_a_text(model: Any) -> None:
    plain, led = (Request(CAPTIONS[1], 7, negative_prompt=text) for text in ("", "irregular border, black."))
    drawn = [model.sample([request], 4.0, 2) for request in (plain, led)]
    assert not torch.equal(*drawn)
    assert torch.equal(*(model.sample([request], 1.0, 2) for request in (plain, led))), "not without guidance"


def test_guided_tokens_are_as_long_as_with_text(model: Any) -> None:
    given, without = (torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    mixed = model.mixed(given, without, torch.full((2, 1, 1, 1), 4.0))
    length = lambda v: v.unflatten(2, (2, 2)).unflatten(4, (3, 2)).square().sum((1, 3, 5))  # noqa: E731
    torch.testing.assert_close(length(mixed), length(given))
    assert (mixed - given).abs().max() > 0.1


def test_a_padded_text_predicts_what_it_does_alone(model: Any) -> None:
    """Padding is masked, and text is placed from its beginning."""
    both, alone = (model.collate(model.encode_texts(texts)) for texts in (CAPTIONS, CAPTIONS[1:]))
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3)).expand(2, -1, -1, -1)
    sigma, guidance = torch.tensor([0.3, 0.7]), torch.ones(2)
    with torch.no_grad():
        padded = model.velocity(latents, sigma, both, guidance)[1:]
        torch.testing.assert_close(padded, model.velocity(latents[1:], sigma[1:], alone, guidance[1:]))


def test_a_single_step_draws_too(model: Any) -> None:
    """Of which diffusers' pipeline makes no numbers: its scheduler divides by zero."""
    drawn = model.sample([Request(CAPTIONS[0], 7), Request(CAPTIONS[1], 8)], 1.0, 1).float()
    assert drawn.std() > 5 and not torch.equal(drawn[0], drawn[1])
