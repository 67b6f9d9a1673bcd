"""Losses of denoising diffusion that diffusers' schedulers do not have: weighting, and learned variances."""

from __future__ import annotations

import math

import diffusers
import torch
from torch import Tensor


def draw_timesteps(count: int, scheduler: diffusers.DDPMScheduler, like: Tensor) -> Tensor:
    """(count,) uniform in 0 .. T - 1, the last included."""
    return torch.randint(0, scheduler.config.num_train_timesteps, (count,)).to(like.device)


def loss(
    predicted: Tensor, data: Tensor, noise: Tensor, t: Tensor, scheduler: diffusers.DDPMScheduler, gamma: float | None
) -> Tensor:
    """(B,) squared error of what the scheduler's prediction_type says is predicted, averaged over each image.

    Args:
        gamma: min-SNR weighting (Hang et al. 2023, section 3.4): min(SNR, gamma) / SNR for noise, / (SNR + 1) for
            velocity. None for none.
    """
    velocity = scheduler.config.prediction_type == "v_prediction"
    target = scheduler.get_velocity(data, noise, t) if velocity else noise
    errors = (predicted.float() - target.float()).square().flatten(1).mean(1)
    if gamma is None:
        return errors
    from diffusers.training_utils import compute_snr

    snr = compute_snr(scheduler, t)
    return errors * snr.clamp(max=gamma) / (snr + 1 if velocity else snr)


def variational_bound(
    predicted: Tensor, variance: Tensor, data: Tensor, noisy: Tensor, t: Tensor, scheduler: diffusers.DDPMScheduler
) -> Tensor:
    """(B,) terms of the variational bound in bits per dimension, for a model that learns its variances.

    Improved DDPM (Nichol and Dhariwal 2021), equation 15 and section 3.1: the log variance lies between that of the
    posterior and beta, at (variance + 1) / 2 of the way. The mean gets no gradient: `predicted` (noise) is detached.

    Args:
        variance: (B, C, H, W), the model's second half of channels. data, noisy: x_0 and x_t.
    """
    # double precision, so that ratios and logarithms add no error of their own to the scheduler's single precision
    betas = scheduler.betas.to(data.device, torch.float64)
    products = scheduler.alphas_cumprod.to(data.device, torch.float64)
    before = torch.cat([products.new_ones(1), products[:-1]])  # alphas_cumprod of t - 1
    posterior = betas * (1 - before) / (1 - products)
    posterior = torch.cat([posterior[1:2], posterior[1:]])  # at t = 0 it is zero and has no logarithm: that of t = 1

    def at(schedule: Tensor) -> Tensor:
        """Its value at each image's t, (B, 1, 1, 1)."""
        return schedule[t].view(-1, *[1] * (data.ndim - 1)).float()

    product, previous, beta = at(products), at(before), at(betas)
    smallest, largest = at(posterior.log()), at(betas.log())  # log variances
    guess = (noisy - (1 - product).sqrt() * predicted.detach()) / product.sqrt()  # x_0, if the noise is as predicted
    # the posterior's mean (Ho et al. 2020, equation 7) weights x_0 and x_t
    from_data, from_noisy = previous.sqrt() * beta / (1 - product), (1 - beta).sqrt() * (1 - previous) / (1 - product)
    true_mean, mean = from_data * data + from_noisy * noisy, from_data * guess + from_noisy * noisy
    share = (variance.float() + 1) / 2
    log_variance = share * largest + (1 - share) * smallest
    kl = gaussian_kl(true_mean, smallest.expand_as(mean), mean, log_variance)
    first = -discretised_log_likelihood(
        data, mean, log_variance / 2
    )  # t = 0 has no posterior: it must yield the pixels
    first_step = (t == 0).view(-1, *[1] * (data.ndim - 1))
    return torch.where(first_step, first, kl).flatten(1).mean(1) / math.log(2)  # nats to bits


def gaussian_kl(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """Elementwise KL divergence of two diagonal Gaussians in nats."""
    difference = (mean - other_mean).square() * torch.exp(-other_log_variance)
    return 0.5 * (other_log_variance - log_variance + torch.exp(log_variance - other_log_variance) + difference - 1)


def discretised_log_likelihood(data: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    """Elementwise log probability of pixels of 256 levels in [-1, 1] under a Gaussian (Ho et al. 2020, equation 13)."""
    half = 1 / 255  # of the distance of two levels, 2 / 255
    scale = torch.exp(-log_deviation)
    above = torch.special.ndtr((data - mean + half) * scale)
    below = torch.special.ndtr((data - mean - half) * scale)
    # the first and the last level stand for all that lies beyond; 0.999 is between a level and its neighbour
    inside = torch.where(data < -0.999, above, torch.where(data > 0.999, 1 - below, above - below))
    return inside.clamp(min=1e-12).log()  # differences of tails become zero in single precision
