"""The embedding that needs no weights: a small network that a run trains on its own images to tell copies from others.

Two changed views of an image belong together, those of other images do not (InfoNCE, as in SimCLR, Chen et al. 2020).
The views are changed as copies are: `copies` has the ways in which it is then measured, with other code and strengths.
"""

import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dermray.features.opened import hash_of
from dermray.synthesis.gate.thumbnails import standardised

SIDE = 32  # px that it sees
WIDTH = 16  # channels of its first layers
BATCH = 128
TEMPERATURE = 0.07
LEARNING_RATE = 3e-3
MOST_CROPPED = 0.2  # of each side; a network that never saw a close-up takes one for another picture
MOST_TILTED = 20.0  # degrees
MOST_NOISE = 0.06


class CopyNetwork(nn.Module):
    """An Extractor: unit vectors (B, 128), near each other for copies."""

    name, width = "copy network of the run", 128

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_stage(3, WIDTH), _stage(WIDTH, 2 * WIDTH), _stage(2 * WIDTH, 4 * WIDTH))
        self.head = nn.Linear(4 * WIDTH * (SIDE // 8) ** 2, self.width)

    @property
    def hash(self) -> str:
        """Of its weights."""
        return hash_of(self, {"side": SIDE})

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, 32, 32) float in [0, 1] to unit vectors (B, 128)."""
        return F.normalize(self.head(self.body(standardised(images)).flatten(1)), dim=1)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 to unit vectors (B, 128) on the CPU."""
        return self.embed(seen(images).to(self.head.weight.device)).cpu()


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def seen(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 as the network sees them."""
    return F.interpolate(images.float() / 255, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)


def seen_bytes(images: Tensor) -> Tensor:
    """The same as (B, 3, 32, 32) uint8, of which many can be held."""
    return (seen(images) * 255).round().to(torch.uint8)


def fit(images: Tensor, steps: int, seed: int) -> CopyNetwork:
    """Train on (N, 3, H, W) uint8; one-cycle learning rate."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CopyNetwork()
    order, small = torch.Generator().manual_seed(seed), seen(images)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.2)
    for _ in range(steps):
        chosen = small[torch.randperm(len(small), generator=order)[:BATCH]]
        views: Tensor = network.embed(torch.cat([changed(chosen, order), changed(chosen, order)]))
        alike = (views @ views.T / TEMPERATURE).fill_diagonal_(-torch.inf)
        loss = F.cross_entropy(alike, torch.arange(len(views)).roll(len(chosen)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def changed(images: Tensor, random: torch.Generator) -> Tensor:
    """(B, 3, S, S) in [0, 1], each in its own random orientation, crop, tilt, white balance, sharpness and noise."""

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(len(images), *shape, generator=random)

    quarter = torch.randint(4, (len(images),), generator=random) * math.pi / 2
    angle = quarter + between(-MOST_TILTED, MOST_TILTED) * math.pi / 180
    mirror, scale = torch.randint(2, (len(images),), generator=random) * 2.0 - 1, 1 - between(0, MOST_CROPPED)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    left, top = between(-1, 1) * (1 - scale), between(-1, 1) * (1 - scale)
    matrix = torch.stack([torch.stack([cos * mirror, -sin, left], 1), torch.stack([sin * mirror, cos, top], 1)], 1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    shown = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    shown = shown * between(0.7, 1.35, 1, 1, 1) * between(0.8, 1.25, 3, 1, 1)
    mixed = torch.eye(3) + 0.12 * torch.randn(len(images), 3, 3, generator=random)
    shown = torch.einsum("nij,njhw->nihw", mixed, shown)
    blurred = F.avg_pool2d(F.pad(shown, (1, 1, 1, 1), mode="reflect"), 3, 1)
    shown = torch.lerp(shown, blurred, 0.6 * (between(0, 1, 1, 1, 1) < 0.5))
    noise = torch.randn(shown.shape, generator=random)
    return (shown + between(0, MOST_NOISE, 1, 1, 1) * noise).clamp(0, 1)


def save(network: CopyNetwork, file: Path) -> None:
    """Its weights."""
    save_file(network.state_dict(), file)


def load(file: Path) -> CopyNetwork:
    """What `save` wrote."""
    network = CopyNetwork()
    network.load_state_dict(load_file(file))
    return network.eval().requires_grad_(False)
