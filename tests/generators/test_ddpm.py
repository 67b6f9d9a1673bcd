"""The variational bound held to torch's distributions and to diffusers' posterior."""

import math

import torch
from diffusers import DDPMScheduler
from torch.distributions import Normal, kl_divergence

from dermray.generators.ddpm import discretised_log_likelihood, gaussian_kl, variational_bound

SCHEDULER = DDPMScheduler(clip_sample=False, variance_type="learned_range")


def test_the_bound_is_the_divergence_of_posterior_and_model() -> None:
    """Both steps are taken from diffusers: its mean with the true noise, and its learned_range variance."""
    torch.manual_seed(0)
    data, noise = torch.rand(6, 3, 4, 4) * 2 - 1, torch.randn(6, 3, 4, 4)
    t = torch.tensor([1, 5, 100, 500, 900, 999])
    noisy = SCHEDULER.add_noise(data, noise, t)
    predicted, variance = noise + 0.1 * torch.randn_like(noise), torch.rand_like(noise) * 2 - 1
    expected = []
    for i, step in enumerate(t.tolist()):
        one = slice(i, i + 1)
        means = []
        for eps in (noise[one], predicted[one]):
            zero = torch.cat([eps, torch.zeros_like(eps)], 1)  # the variance does not move the mean
            SCHEDULER.set_timesteps(1000)
            drawn = [
                SCHEDULER.step(zero, step, noisy[one], generator=torch.Generator().manual_seed(7)).prev_sample
                for _ in range(1)
            ]
            spread = SCHEDULER._get_variance(step, predicted_variance=torch.zeros(1)).mul(0.5).exp()
            z = torch.randn(eps.shape, generator=torch.Generator().manual_seed(7))
            means.append(drawn[0] - spread * z)
        log_variance = SCHEDULER._get_variance(step, predicted_variance=variance[one])
        posterior = Normal(
            means[0], torch.tensor(float(SCHEDULER._get_variance(step, variance_type="fixed_small"))).sqrt()
        )
        model = Normal(means[1], (log_variance / 2).exp())
        expected.append(kl_divergence(posterior, model).mean() / math.log(2))
    found = variational_bound(predicted, variance, data, noisy, t, SCHEDULER)
    torch.testing.assert_close(found, torch.stack(expected), rtol=2e-3, atol=1e-5)


def test_divergence_equals_torchs() -> None:
    torch.manual_seed(0)
    a, b, c, d = torch.randn(4, 50)
    expected = kl_divergence(Normal(a, (b / 2).exp()), Normal(c, (d / 2).exp()))
    torch.testing.assert_close(gaussian_kl(a, b, c, d), expected)


def test_probabilities_of_all_levels_sum_to_one() -> None:
    levels = torch.linspace(-1, 1, 256)[:, None]
    mean, log_deviation = torch.tensor([[0.2, -0.97, 1.3]]), torch.tensor([[-2.0, -3.0, -1.0]])
    total = discretised_log_likelihood(levels, mean, log_deviation).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(3), rtol=1e-4, atol=1e-4)


def test_only_the_variance_is_taught() -> None:
    predicted, variance = torch.randn(2, 3, 4, 4, requires_grad=True), torch.zeros(2, 3, 4, 4, requires_grad=True)
    data = torch.rand(2, 3, 4, 4)
    variational_bound(predicted, variance, data, data, torch.tensor([0, 50]), SCHEDULER).sum().backward()
    assert predicted.grad is None and variance.grad is not None and variance.grad.abs().sum() > 0
