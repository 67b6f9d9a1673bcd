from collections.abc import Callable
from itertools import pairwise

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from dermray.generators import flow_matching


def drawn(
    velocity: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], noise: torch.Tensor, steps: int
) -> torch.Tensor:
    z = noise
    for now, following in pairwise(flow_matching.times(steps)):
        every = now.expand(len(z))
        z = flow_matching.euler(z, velocity(z, every), every, following.expand(len(z)))
    return z


def test_euler_equals_diffusers() -> None:
    torch.manual_seed(0)
    field = torch.nn.Conv2d(3, 3, 3, padding=1)
    noise = torch.randn(2, 3, 8, 8)

    def velocity(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return field(z) * t.view(-1, 1, 1, 1)

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
    steps = 10
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    theirs = noise
    with torch.no_grad():
        for time in scheduler.timesteps:
            theirs = scheduler.step(velocity(theirs, (time / 1000).expand(2)), time, theirs).prev_sample
        ours = drawn(velocity, noise, steps)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_path_equals_diffusers_scale_noise() -> None:
    data, noise = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
    times = scheduler.timesteps[[10, 400, 700, 990]]
    theirs = scheduler.scale_noise(data, times, noise)
    torch.testing.assert_close(flow_matching.interpolate(data, noise, times / 1000), theirs)


def test_the_true_velocity_has_no_loss_and_leads_to_the_data() -> None:
    data, noise = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    found = drawn(lambda z, t: noise - data, noise, steps=7)
    torch.testing.assert_close(found, data, rtol=1e-5, atol=1e-5)


def test_times_are_logit_normal() -> None:
    torch.manual_seed(0)
    t = flow_matching.logit_normal_times(200_000)
    assert abs(torch.logit(t).mean()) < 0.01 and abs(torch.logit(t).std() - 1) < 0.01
