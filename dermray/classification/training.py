"""Train one classifier on arrays of pixels. Pure torch."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dermray.classification.backbones import Backbone, build


def train(
    images: np.ndarray, labels: np.ndarray, backbone: Backbone, steps: int, batch_size: int, seed: int
) -> torch.nn.Module:
    """Equal steps whatever the number of images: arms differ in their images and in nothing else.

    Args:
        images: (N, 3, S, S) uint8. labels: (N,) bool.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    model = build(backbone).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    optimizer = torch.optim.AdamW(model.parameters(), lr=backbone.learning_rate, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, backbone.learning_rate, total_steps=steps, pct_start=0.25)
    targets = torch.from_numpy(labels.astype(np.float32))
    pixels = torch.from_numpy(images)
    for _ in range(steps):
        index = torch.randint(len(pixels), (batch_size,), generator=order)
        batch = torch.rot90(pixels[index], int(torch.randint(4, (), generator=order)), (2, 3))
        if int(torch.randint(2, (), generator=order)):
            batch = batch.flip(3)
        loss = F.binary_cross_entropy_with_logits(model(normalise(batch))[:, 0], targets[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def normalise(images: Tensor) -> Tensor:
    """(B, 3, S, S) uint8 to about [-1, 1]."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def scores(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """(N,) float64 probabilities of malignancy."""
    parts: list[Any] = [torch.sigmoid(model(normalise(batch))[:, 0]) for batch in torch.from_numpy(images).split(256)]
    return np.asarray(torch.cat(parts).double().numpy())
