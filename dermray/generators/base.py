"""What every family of text-to-image generators offers. Pure torch: nothing here or beside it knows Ray."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel
from torch import Tensor, nn

# Found by name, imported when asked for. Adding a family: a file, a line here, a test, two presets.
FAMILIES = {"dermdit": "dermray.generators.dermdit:DermDiT"}


@dataclass(frozen=True)
class Batch:
    """What a loss needs: pixels or latents, and encoded captions."""

    images: Tensor  # (B, C, H, W) float, what the model diffuses
    tokens: Tensor  # (B, T) int64
    mask: Tensor  # (B, T) bool, True where a token stands

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(self.images.to(device), self.tokens.to(device), self.mask.to(device))


@dataclass(frozen=True)
class Request:
    """One image to draw."""

    prompt: str
    seed: int


class Generator(nn.Module):
    """A family of text-to-image models."""

    Config: type[BaseModel]
    config: Any
    image_size: int  # px

    @classmethod
    def from_captions(cls, config: Any, captions: list[str]) -> Self:
        """A new model; families with an own tokenizer train it on `captions`."""
        raise TypeError(f"{cls.__name__} does not say how to build itself")

    def encode(self, images: Tensor, captions: list[str]) -> Batch:
        """Frozen parts. images: (B, 3, H, W) uint8 at `image_size`."""
        raise TypeError(f"{type(self).__name__} does not encode")

    def forward(self, batch: Batch) -> Tensor:
        """Scalar loss; inside forward, so that DDP and FSDP see it. Noise comes from torch's global generator."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def sample(self, requests: list[Request], guidance_scale: float, steps: int) -> Tensor:
        """(B, 3, H, W) uint8. A request's pixels depend on its prompt and seed, not on its neighbours' noise."""
        raise TypeError(f"{type(self).__name__} does not sample")

    def save(self, directory: Path) -> None:
        """Weights and config."""
        raise TypeError(f"{type(self).__name__} does not save")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote.

        Raises:
            ValueError: the directory holds another family's checkpoint, or none.
        """
        raise TypeError(f"{cls.__name__} does not load")


def family(name: str) -> type[Generator]:
    """The class of a family.

    Raises:
        ValueError: unknown name.
    """
    if name not in FAMILIES:
        raise ValueError(f"family={name!r}: expected one of {sorted(FAMILIES)}")
    module, _, attribute = FAMILIES[name].partition(":")
    found: type[Generator] = getattr(import_module(module), attribute)
    return found


def initial_noise(seeds: list[int], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise (len(seeds), *shape), each row from its own seed."""
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)
