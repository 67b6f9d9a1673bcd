"""A batch as it was read, before a generator sees it. Nothing in it is random yet."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from dermray.generators.base import Generator, Sample


@dataclass(frozen=True)
class ImageBatch:
    """Images and captions as they were read: (B, 3, H, W) uint8."""

    pixels: Tensor
    captions: list[str]

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """With all tensors as `move` gives them."""
        return replace(self, pixels=move(self.pixels))

    def samples(self, generator: Generator, turned: bool) -> list[Sample]:
        """As the generator's frozen parts encode them now."""
        device = next(generator.parameters()).device
        return generator.encode((turn(self.pixels) if turned else self.pixels).to(device), self.captions)


@dataclass(frozen=True)
class SampleBatch:
    """What was encoded ahead, as it was read."""

    encoded: list[Sample]

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """With all tensors as `move` gives them."""
        moved = [{name: move(value) for name, value in sample.items()} for sample in self.encoded]
        return replace(self, encoded=moved)

    def samples(self, generator: Generator, turned: bool) -> list[Sample]:
        """On the generator's device."""
        assert not turned, "what was encoded ahead has one orientation"
        device = next(generator.parameters()).device
        return self.moved(lambda value: value.to(device)).encoded


ReadBatch = ImageBatch | SampleBatch


def turn(images: Tensor) -> Tensor:
    """A batch in one random of the eight orientations of a square; of other shapes, half lie on their side."""
    turned = torch.rot90(images, int(torch.randint(4, ())), (2, 3))
    return turned.flip(3) if int(torch.randint(2, ())) else turned
