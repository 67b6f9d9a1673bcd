"""How GLIDE is sampled: its lists of timesteps, ancestral steps with learned variances, DDIM.

As OpenAI's code takes steps: over a subset of the timesteps, whose betas are those of the subset. diffusers'
DDPMScheduler bounds learned variances by the betas of all timesteps, and its DDIMScheduler knows even spacing only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def even_steps(count: int, total: int = 1000) -> list[int]:
    """`count` timesteps from the noisiest to the least, both ends included."""
    return torch.linspace(total - 1, 0, count, dtype=torch.float64).round().int().tolist()


def section_steps(counts: Sequence[int], total: int = 1000) -> list[int]:
    """Timesteps of equal sections of the schedule, so many of each, from the noisiest on; counts start at the least.

    (10, 10, 3, 2, 2) are OpenAI's `fast27`. The noisiest is T - 3 instead of T - 1: fewer artefacts of DDIM.
    """
    size = total // len(counts)
    steps = [
        start + step
        for start, count in zip(range(0, total, size), counts, strict=False)
        for step in reversed(even_steps(count, size))
    ]
    return [total - 3, *reversed(steps[:-1])]


@dataclass(frozen=True)
class Step:
    """From one timestep to the next, in the terms of Ho et al. 2020."""

    t: int
    product: float  # alpha bar of t
    previous: float  # alpha bar of the timestep that comes next, 1 at the end

    def data(self, noisy: Tensor, noise: Tensor) -> Tensor:
        """x_0, if the noise is `noise`; pixels lie in [-1, 1]."""
        return ((noisy - math.sqrt(1 - self.product) * noise) / math.sqrt(self.product)).clamp(-1, 1)


def walk(timesteps: list[int], betas: Tensor) -> list[Step]:
    """The steps along `timesteps`."""
    products = (1 - betas.double()).cumprod(0).tolist()
    ends = [*[products[t] for t in timesteps[1:]], 1.0]
    return [Step(t, products[t], previous) for t, previous in zip(timesteps, ends, strict=True)]


def ancestral(predicted: Tensor, place: Tensor, noisy: Tensor, step: Step, noise: Callable[[], Tensor]) -> Tensor:
    """Images in [-1, 1] after a step from `noisy` (B, 3, H, W), with variances that the model learned.

    Nichol and Dhariwal 2021, section 3.1 and 4: bounds of the variance are those of the steps that are taken.

    Args:
        predicted, place: noise in `noisy`, and where between its bounds the log variance is, as -1 to 1.
        noise: gives fresh noise of the same shape.
    """
    beta = 1 - step.product / step.previous
    from_data = math.sqrt(step.previous) * beta / (1 - step.product)
    from_noisy = math.sqrt(1 - beta) * (1 - step.previous) / (1 - step.product)
    mean = from_data * step.data(noisy, predicted) + from_noisy * noisy
    if step.previous == 1:  # the last: nothing is added
        return mean
    smallest, largest = math.log(beta * (1 - step.previous) / (1 - step.product)), math.log(beta)
    share = (place + 1) / 2
    return mean + torch.exp((share * largest + (1 - share) * smallest) / 2) * noise()


def ddim(predicted: Tensor, noisy: Tensor, step: Step) -> Tensor:
    """Images in [-1, 1] after a step from `noisy` (B, 3, H, W), without noise added (Song et al. 2021, equation 12)."""
    data = step.data(noisy, predicted)
    noise = (noisy - math.sqrt(step.product) * data) / math.sqrt(1 - step.product)  # that goes with clipped pixels
    return math.sqrt(step.previous) * data + math.sqrt(1 - step.previous) * noise
