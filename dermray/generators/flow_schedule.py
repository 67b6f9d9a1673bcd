"""Timesteps from noise to image, as diffusers' flow pipelines choose them."""

import copy
from typing import Any

import numpy as np

SHIFT = {  # names in the scheduler's config, and the pipelines' defaults
    "base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15,
}  # fmt: skip


def linear_mu(scheduler: Any, tokens: int) -> float:
    """mu on a line through two sizes, as FLUX.1, Z-Image and Qwen-Image have it; scheduler: its config."""
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    return float(calculate_shift(tokens, *(scheduler.get(name, default) for name, default in SHIFT.items())))


def walk(scheduler: Any, steps: int, mu: float) -> Any:
    """A copy of a scheduler, with so many timesteps from noise to image."""
    own = copy.deepcopy(scheduler)
    sigmas = None if own.config.get("use_flow_sigmas") else np.linspace(1.0, 1 / steps, steps)
    own.set_timesteps(None if sigmas is not None else steps, sigmas=sigmas, mu=mu)
    own.set_begin_index(0)
    return own
