"""An opened network as an extractor: images in batches that fit, what it computes with, and the hash of all that."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dermray.weights import COUNTER

AT_ONCE = 64  # images in a network at a time, however many are given


@dataclass(frozen=True)
class Parts:
    """What the kinds of extractors differ in."""

    name: str
    network: nn.Module  # prepared images to features (B, D) and logits (B, classes), or None for the latter
    prepare: Callable[[Tensor], Tensor]  # (B, 3, H, W) uint8 to what the network takes, both on the CPU
    about: dict[str, Any]  # all that decides features beside the tensors: how images are prepared, the network's shape


class Opened:
    """An Extractor. Images are prepared on the CPU, so that they are the same for every device."""

    def __init__(self, parts: Parts, device: str = "cpu") -> None:
        self.name, self.hash = parts.name, hash_of(parts.network, parts.about)
        self.about, self.device = parts.about, torch.device(device)
        self.prepare = parts.prepare
        self.network = parts.network.eval().requires_grad_(False).to(self.device)
        self.width = self(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).shape[1]

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 to features (B, D) float32 on the CPU."""
        return self.both(images)[0]

    def logits(self, images: Tensor) -> Tensor | None:
        """(B, classes) float32 on the CPU, where the network has a head that was trained."""
        return self.both(images)[1]

    @torch.inference_mode()
    def both(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and logits in one pass.

        Raises:
            ValueError: other than (B, 3, H, W) uint8 with B at least 1.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
            raise ValueError(f"images: expected (B, 3, H, W) uint8, B > 0, got {tuple(images.shape)} {images.dtype}")
        seen = [self._seen(part) for part in images.cpu().split(AT_ONCE)]
        logits = [part for _, part in seen if part is not None]
        return torch.cat([part for part, _ in seen]), torch.cat(logits) if logits else None

    def _seen(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        shown = self.prepare(images).to(self.device)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # ten bits would make another network of it
            features, logits = self.network(shown)
        return features.float().cpu(), None if logits is None else logits.float().cpu()


def hash_of(network: nn.Module, about: dict[str, Any]) -> str:
    """Twelve hex digits of every tensor's bytes and of `about`, whatever file of whatever format they came from."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(network.state_dict().items()):
        if not name.endswith(COUNTER):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:12]
