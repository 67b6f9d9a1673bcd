"""GLIDE beside OpenAI's own code, on random weights of the published sizes: numbers for glide_equality.md.

    git clone https://github.com/openai/glide-text2im
    python -m benchmarks.glide_equality path/to/glide-text2im

Their code runs from that checkout and gives checkpoints as they would have published them; ours reads these as it reads
base.pt and upsample.pt. Weights are random, with noise on what starts at zero, so that every layer is heard.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dermray.generators import glide_sampling
from dermray.generators.glide_import import read_stage
from dermray.generators.glide_models import PUBLISHED, STAGES, Stage
from dermray.generators.glide_tokenizer import read_tokenizer

PROMPTS = [
    "a dermoscopic image of a Melanoma, asymmetric; irregular border!",
    "basal cell carcinoma",
    "It's 12 mm wide -- l'érythème, 3.5%  naïve \n\tDermatofibroma's rim",
    "",
    "nevus " * 150,
]
FAST27 = (10, 10, 3, 2, 2)
SEED = 0


def main(checkout: Path) -> None:
    """Print a line for each comparison."""
    sys.path.insert(0, str(checkout))
    theirs = importlib.import_module("glide_text2im.model_creation")
    tokens, mask = _tokenizers(checkout)
    _timesteps(importlib.import_module("glide_text2im.respace"))
    for name in STAGES:
        _stage(theirs, name, tokens, mask)


def _tokenizers(checkout: Path) -> tuple[Tensor, Tensor]:
    """Their tokens and mask of the prompts, (B, 128); ours have to be the same."""
    encoder = importlib.import_module("glide_text2im.tokenizer.bpe").get_encoder()
    rows = [encoder.padded_tokens_and_mask(encoder.encode(text), 128) for text in PROMPTS]
    tokens, mask = torch.tensor([row[0] for row in rows]), torch.tensor([row[1] for row in rows])
    ours = read_tokenizer(checkout / "glide_text2im" / "tokenizer", encoder.n_vocab, 128)
    read = ours(PROMPTS, padding="max_length", max_length=128, truncation=True, return_tensors="pt").input_ids
    same = torch.equal(read, tokens) and torch.equal(read != ours.pad_token_id, mask)
    print(f"tokenizer: {encoder.n_vocab} tokens; ids and masks of {len(PROMPTS)} texts equal: {same}", flush=True)
    return tokens, mask


@torch.no_grad()
def _stage(theirs: Any, name: str, tokens: Tensor, mask: Tensor) -> None:
    """Parameters, text states, prediction and sampled images of a stage."""
    published = _published(theirs, name)
    print(f"{name}: {sum(p.numel() for p in published.parameters()):,} parameters", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "checkpoint.pt"
        torch.save(published.state_dict(), file)
        ours = read_stage(file, name, PUBLISHED[name])
    ours.unet.eval()
    made = sum(p.numel() for p in ours.parameters())
    print(f"{name}: {len(published.state_dict())} tensors, every one used; {made:,} parameters of ours", flush=True)

    side = PUBLISHED[name].side
    generator = torch.Generator().manual_seed(SEED)
    noisy, t = torch.randn(1, 3, side, side, generator=generator), torch.tensor([500])
    low = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1 if name == "upsampler" else None
    shown = {} if low is None else {"low_res": low}
    text = published.get_text_emb(tokens, mask)["xf_out"].transpose(1, 2)
    _print(f"{name}: text states of {len(tokens)} texts", text, ours.text(tokens))
    tokens, mask = tokens[:1], mask[:1]
    expected = published(noisy, t, tokens=tokens, mask=mask, **shown)
    predicted = torch.cat(ours.denoise(noisy, t, ours.text(tokens), low), 1)
    _print(f"{name}: noise and variance, {side} px", expected, predicted)
    _sampled(theirs, name, published, ours, tokens, mask, low)


def _published(theirs: Any, name: str) -> Any:
    torch.manual_seed(SEED)
    options = _defaults(theirs, name) | {"use_fp16": False}
    model: nn.Module = theirs.create_model_and_diffusion(**options)[0].eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key in ("positional_embedding", "padding_embedding"):
                parameter.normal_(0, 0.02)  # they leave these as memory has them
            elif not parameter.any():
                parameter.normal_(0, 0.02)  # last layers of blocks, and biases of norms
    return model


def _defaults(theirs: Any, name: str) -> dict[str, Any]:
    upsampler = name == "upsampler"
    options: dict[str, Any] = (
        theirs.model_and_diffusion_defaults_upsampler() if upsampler else theirs.model_and_diffusion_defaults()
    )
    return options


def _sampled(theirs: Any, name: str, published: Any, ours: Stage, tokens: Tensor, mask: Tensor, low: Any) -> None:
    """A few of the steps that the notebook takes, from the same noise, of 64 px: an image of each."""
    respace = importlib.import_module("glide_text2im.respace")
    steps = glide_sampling.even_steps(100) if low is None else glide_sampling.section_steps(FAST27)
    some = [*steps[:3], *steps[-3:]]
    betas = theirs.get_named_beta_schedule(_defaults(theirs, name)["noise_schedule"], 1000)
    diffusion = respace.SpacedDiffusion(use_timesteps=some, betas=betas)
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(SEED))
    given: dict[str, Any] = {"tokens": tokens, "mask": mask} | ({} if low is None else {"low_res": low})
    loop: Callable[..., Tensor] = diffusion.p_sample_loop if low is None else diffusion.ddim_sample_loop
    torch.manual_seed(SEED)
    expected = loop(published, noise.shape, noise=noise, device="cpu", model_kwargs=given)
    states = ours.text(tokens)
    drawn = noise
    torch.manual_seed(SEED)
    for step in glide_sampling.walk(some, ours.scheduler.betas):
        predicted, place = ours.denoise(drawn, torch.tensor([step.t]), states, low)
        if low is None:
            drawn = glide_sampling.ancestral(predicted, place, drawn, step, lambda: torch.randn_like(noise))
        else:
            drawn = glide_sampling.ddim(predicted, drawn, step)
    _print(f"{name}: image after {len(some)} steps ({'ancestral' if low is None else 'DDIM'})", expected, drawn)


def _timesteps(respace: Any) -> None:
    """The lists of timesteps."""
    for name, ours in (("100", glide_sampling.even_steps(100)), ("fast27", glide_sampling.section_steps(FAST27))):
        theirs = sorted(respace.space_timesteps(1000, name), reverse=True)
        print(f"timesteps of {name}: {len(ours)}, equal: {ours == theirs}", flush=True)


def _print(what: str, theirs: Tensor, ours: Tensor) -> None:
    difference, scale = (theirs - ours).abs().max().item(), theirs.abs().max().item()
    print(f"{what}: largest difference {difference:.1e}, largest value {scale:.2f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
