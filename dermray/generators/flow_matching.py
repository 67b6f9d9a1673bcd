"""Rectified flow on straight paths (DermaFlux, paper 002, equations 1 to 3; Lipman et al. 2023).

Time runs as in diffusers: t = 0 is data, t = 1 is noise, z_t = (1 - t) data + t noise, velocity = noise - data.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]  # (z (B, ...), t (B,)) -> (B, ...)


def logit_normal_times(count: int) -> Tensor:
    """(count,) times in (0, 1), most of them in the middle (Esser et al. 2024, section 3.1)."""
    return torch.sigmoid(torch.randn(count))


def shift(t: Tensor, mu: float) -> Tensor:
    """Times moved towards noise by resolution: exp(mu) / (exp(mu) + 1 / t - 1), as FLUX's sampler moves its steps."""
    return math.exp(mu) / (math.exp(mu) + 1 / t - 1)


def interpolate(data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """z_t on the straight path from data to noise; t: (B,)."""
    t = t.view(-1, *[1] * (data.ndim - 1))
    return (1 - t) * data + t * noise


def losses(velocity: Velocity, data: Tensor) -> tuple[Tensor, Tensor]:
    """One random time per image (B,), and the squared error of the velocity there, averaged over each image (B,)."""
    noise, t = torch.randn_like(data), logit_normal_times(len(data)).to(data.device)
    errors = velocity(interpolate(data, noise, t), t) - (noise - data)
    return t, errors.square().flatten(1).mean(1)


def times(steps: int) -> Tensor:
    """(steps + 1,), equally far apart from noise to data."""
    return torch.linspace(1, 0, steps + 1)


def euler(z: Tensor, velocity: Tensor, now: Tensor, following: Tensor) -> Tensor:
    """z (B, ...) at times `following` (B,), by a step along its velocity at times `now` (B,)."""
    return z + (following - now).view(-1, *[1] * (z.ndim - 1)) * velocity
