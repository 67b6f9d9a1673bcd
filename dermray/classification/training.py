"""Train one classifier on arrays of pixels. Pure torch."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dermray.classification.backbones import Backbone, build, usual_size


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
        loss = _loss(model, batch, targets[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _loss(model: torch.nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(model(normalise(images))[:, 0], targets)


def try_out(backbone: Backbone, size: int) -> None:
    """One step of training and one score at `size` px, before there are images.

    Raises:
        ValueError: it cannot work at that size, and what would.
    """
    error = _failure(backbone, size)
    if error is None:
        return
    sized = backbone.model_copy(update={"arguments": backbone.arguments | {"img_size": size}})
    if "img_size" not in backbone.arguments and _failure(sized, size) is None:
        remedy = f"give this backbone arguments={{img_size: {size}}}"
    elif (usual := usual_size(backbone)) != size and _failure(backbone, usual) is None:
        remedy = f"it works at {usual} px: train a generator of that image size, or take another backbone"
    else:
        remedy = "take another backbone, such as test_resnet or resnet18"
    raise ValueError(f"backbone {backbone.name}: cannot be trained at the sweep's {size} px ({error}); {remedy}")


def _failure(backbone: Backbone, size: int) -> str | None:
    """Why it fails. Shapes alone are computed first, which takes neither memory nor time; a failure is then confirmed.

    Some models ask for values, which torch's meta device does not have.
    """
    for device in ("meta", "cpu"):
        try:
            with torch.device(device):
                images = torch.zeros(2, 3, size, size, dtype=torch.uint8)
                model = build(backbone).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # see above
                _loss(model.train(), images, torch.ones(2)).backward()
                model.eval()(normalise(images))[:, 0]
            return None
        except Exception as error:  # whatever a model raises, it is told of by name
            told = f"{type(error).__name__}: {error}".splitlines()[0]
    return told


def normalise(images: Tensor) -> Tensor:
    """(B, 3, S, S) uint8 to about [-1, 1]."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def scores(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """(N,) float64 probabilities of malignancy."""
    parts: list[Any] = [torch.sigmoid(model(normalise(batch))[:, 0]) for batch in torch.from_numpy(images).split(256)]
    return np.asarray(torch.cat(parts).double().numpy())
