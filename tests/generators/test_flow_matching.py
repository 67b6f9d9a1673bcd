import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from dermray.generators import flow_matching


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
        ours = flow_matching.euler(velocity, noise, steps)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_path_equals_diffusers_scale_noise() -> None:
    data, noise = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
    times = scheduler.timesteps[[10, 400, 700, 990]]
    theirs = scheduler.scale_noise(data, times, noise)
    torch.testing.assert_close(flow_matching.interpolate(data, noise, times / 1000), theirs)


def test_the_true_velocity_has_no_loss_and_leads_to_the_data() -> None:
    data, noise = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    found = flow_matching.euler(lambda z, t: noise - data, noise, steps=7)
    torch.testing.assert_close(found, data, rtol=1e-5, atol=1e-5)


def test_guidance_scale_one_asks_for_the_conditional_alone() -> None:
    asked = []

    def velocity(z: torch.Tensor, t: torch.Tensor, conditional: bool) -> torch.Tensor:
        asked.append(conditional)
        return torch.full_like(z, 3.0 if conditional else 1.0)

    z, t = torch.zeros(1, 1), torch.zeros(1)
    assert flow_matching.guided(velocity, 1)(z, t).item() == 3 and asked == [True]
    assert flow_matching.guided(velocity, 2.5)(z, t).item() == 1 + 2.5 * 2


def test_times_are_logit_normal() -> None:
    torch.manual_seed(0)
    t = flow_matching.logit_normal_times(200_000)
    assert abs(torch.logit(t).mean()) < 0.01 and abs(torch.logit(t).std() - 1) < 0.01
