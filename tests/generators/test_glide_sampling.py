"""Timesteps as OpenAI's code lists them; steps over some of them are diffusers' over a schedule of these alone."""

import diffusers
import torch
from torch import Tensor

from dermray.generators.glide_sampling import ancestral, ddim, even_steps, section_steps, walk

BETAS = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2").betas


def test_a_hundred_steps_go_from_the_last_timestep_to_the_first() -> None:
    steps = even_steps(100)
    assert steps[:3] == [999, 989, 979] and steps[-3:] == [20, 10, 0] and len(set(steps)) == 100
    assert even_steps(250)[:4] == [999, 995, 991, 987]  # as DiT takes them
    assert even_steps(1) == [999]


def test_fast27_is_openais_list() -> None:
    assert section_steps((10, 10, 3, 2, 2)) == [
        997, 800, 799, 600, 599, 500, 400, 399, 377, 355, 333, 311, 288, 266, 244, 222, 200,
        199, 177, 155, 133, 111, 88, 66, 44, 22, 0,
    ]  # fmt: skip


def respaced(steps: list[int], betas: Tensor = BETAS) -> list[float]:
    """Betas of a schedule that has these timesteps alone, from the least noise on."""
    products = (1 - betas.double()).cumprod(0)[steps[::-1]]
    return (1 - products / torch.cat([products.new_ones(1), products[:-1]])).tolist()


def network(noisy: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """Stands for a U-Net: noise and variance that depend on both arguments."""
    return (noisy * (0.5 + t / 2000)).tanh(), (noisy + t / 300).sin()


def test_ancestral_steps_are_those_of_a_schedule_of_these_timesteps() -> None:
    steps, noise = even_steps(12), torch.Generator().manual_seed(1)
    scheduler = diffusers.DDPMScheduler(
        len(steps), trained_betas=respaced(steps), variance_type="learned_range", clip_sample=True
    )
    start = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = start
    for number, t in zip(reversed(range(len(steps))), steps, strict=True):
        expected = scheduler.step(torch.cat(network(expected, t), 1), number, expected, generator=noise).prev_sample
    fresh = torch.Generator().manual_seed(1)
    drawn = start
    for step in walk(steps, BETAS):
        drawn = ancestral(*network(drawn, step.t), drawn, step, lambda: torch.randn(start.shape, generator=fresh))
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-3)  # diffusers' products are of single precision


def test_ddim_steps_are_those_of_a_schedule_of_these_timesteps() -> None:
    steps = section_steps((10, 10, 3, 2, 2))
    scheduler = diffusers.DDIMScheduler(len(steps), trained_betas=respaced(steps), clip_sample=True)
    scheduler.set_timesteps(len(steps))
    expected = start = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for number, t in zip(scheduler.timesteps, steps, strict=True):
        noise = network(expected, t)[0]
        expected = scheduler.step(noise, number, expected, use_clipped_model_output=True).prev_sample
    drawn = start
    for step in walk(steps, BETAS):
        drawn = ddim(network(drawn, step.t)[0], drawn, step)
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-3)
