"""How FLUX is sampled: diffusers' pipeline, taken apart into steps, with a scheduler of its own for each image."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

from dermray.generators.base import Request
from dermray.generators.canvas import Canvas, guided, put

SHIFT = {  # names in the scheduler's config, and the pipeline's defaults
    "base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15,
}  # fmt: skip


def begin(
    pipeline: Any, pooled: Tensor, tokens: Tensor, request: Request, image_size: int, guidance_scale: float, steps: int
) -> Canvas:
    """Packed noise (1, N, 4C). The guidance that FLUX was distilled with is an input, so no canvas is guided.

    Args:
        pooled, tokens: of CLIP, (1, D), and T5, (1, T, D).
    """
    side, noise = request.size or image_size, torch.Generator().manual_seed(request.seed)
    channels = pipeline.transformer.config.in_channels // 4
    z, _ = pipeline.prepare_latents(1, channels, side, side, tokens.dtype, tokens.device, noise)
    scheduler = copy.deepcopy(pipeline.scheduler)
    sigmas = None if scheduler.config.get("use_flow_sigmas") else np.linspace(1.0, 1 / steps, steps)
    mu = calculate_shift(z.shape[1], *(scheduler.config.get(name, default) for name, default in SHIFT.items()))
    scheduler.set_timesteps(None if sigmas is not None else steps, sigmas=sigmas, mu=mu)
    scheduler.set_begin_index(0)
    guidance = torch.tensor([guidance_scale], device=z.device, dtype=torch.float32)
    return Canvas(
        z=z, text=(pooled, tokens), no_text=(), scale=1, noise=noise, walk=scheduler, steps=len(scheduler.timesteps),
        side=side, kept={"guidance": guidance},
    )  # fmt: skip


def advance(pipeline: Any, transformer: Any, canvases: list[Canvas], rows: int | None) -> None:
    """A step of each one's scheduler."""
    z = torch.cat([canvas.z for canvas in canvases])
    times = [canvas.walk.timesteps[canvas.step] for canvas in canvases]
    guidance = torch.cat([canvas.kept["guidance"] for canvas in canvases])
    places = pipeline._prepare_latent_image_ids(1, *_patches(pipeline, canvases[0].side), z.device, z.dtype)

    def velocity(z: Tensor, t: Tensor, guidance: Tensor, pooled: Tensor, tokens: Tensor) -> Tensor:
        predicted: Tensor = transformer(
            hidden_states=z, timestep=t, guidance=guidance if transformer.config.guidance_embeds else None,
            pooled_projections=pooled, encoder_hidden_states=tokens, img_ids=places,
            txt_ids=torch.zeros(tokens.shape[1], 3, device=z.device, dtype=z.dtype), return_dict=False,
        )[0]  # fmt: skip
        return predicted

    sigmas = torch.stack(times).to(z.device, z.dtype) / 1000
    out = guided(velocity, rows, canvases, (z, sigmas, guidance))
    each = zip(canvases, times, out.split(1), strict=True)
    put(canvases, torch.cat([c.walk.step(own, t, c.z, return_dict=False)[0] for c, t, own in each]))


def _patches(pipeline: Any, side: int) -> tuple[int, int]:
    """Rows and columns of packed latents."""
    count = side // (pipeline.vae_scale_factor * 2)
    return count, count
