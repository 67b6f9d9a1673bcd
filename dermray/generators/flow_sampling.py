"""How flow families are sampled: diffusers' pipelines, taken apart into steps, each image with its own scheduler."""

from __future__ import annotations

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from dermray.generators import flow_text
from dermray.generators.base import Request
from dermray.generators.canvas import Canvas, guided, put
from dermray.generators.flow_family import FlowFamily


def begin(model: FlowFamily, request: Request, guidance_scale: float, steps: int) -> Canvas:
    """Noise (1, C, h, w), and texts as tuples in the order of the names in `texts`.

    Raises:
        ValueError: a size that the transformer's patches do not divide.
    """
    side, noise = request.size or model.image_size, torch.Generator().manual_seed(request.seed)
    if side % model.patch:
        raise ValueError(f"size={side}: family {model.name} draws multiples of {model.patch} px")
    scale = model.led(guidance_scale)
    text = model.collate(model.encode_texts([request.prompt]))
    no_text = text if scale == 1 else model.collate(model.encode_texts([request.negative_prompt]))
    device = next(iter(text.values())).device
    z = randn_tensor((1, *model.latent_shape(side)), noise, device, model.noise_dtype or model.dtype)
    scheduler = model.walk(model.tokens(z), steps)
    guidance = torch.tensor([guidance_scale], device=device, dtype=torch.float32)
    return Canvas(
        z=z, text=tuple(text.values()), no_text=tuple(no_text.values()), scale=scale, noise=noise, walk=scheduler,
        steps=len(scheduler.timesteps), side=side, kept={"guidance": guidance},
    )  # fmt: skip


def advance(model: FlowFamily, canvases: list[Canvas]) -> None:
    """A step of each one's scheduler."""
    names = _same_lengths(model, canvases)
    z = torch.cat([canvas.z for canvas in canvases])
    times = [canvas.walk.timesteps[canvas.step] for canvas in canvases]
    guidance = torch.cat([canvas.kept["guidance"] for canvas in canvases])

    def velocity(z: Tensor, sigma: Tensor, guidance: Tensor, *parts: Tensor) -> Tensor:
        text = flow_text.trimmed(dict(zip(names, parts, strict=True)), model.ragged)
        return model.velocity(z, sigma, text, guidance)

    sigmas = model.sigmas(torch.stack(times).to(z.device))
    rows = 1 if model.row_by_row and model.rows else model.rows
    out = guided(velocity, rows, canvases, (z, sigmas, guidance), mix=model.mixed)
    each = zip(canvases, times, out.split(1), strict=True)
    put(canvases, torch.cat([c.walk.step(own, t, c.z, return_dict=False)[0] for c, t, own in each]))


def _same_lengths(model: FlowFamily, canvases: list[Canvas]) -> list[str]:
    """Pad the canvases' texts to the longest of them; the names of a text's tensors."""
    names = model.text_names
    if not model.ragged:
        return names
    given = [dict(zip(names, part, strict=True)) for c in canvases for part in (c.text, c.no_text)]
    padded = flow_text.side_by_side(given, model.ragged)
    for canvas, text, no_text in zip(canvases, padded[::2], padded[1::2], strict=True):
        canvas.text, canvas.no_text = tuple(text.values()), tuple(no_text.values())
    return names
