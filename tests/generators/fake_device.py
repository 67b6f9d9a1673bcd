"""What a generator goes through on a device that is not there: see `dermray.train_loop.fake_device`.

To try another family: make it under accelerate's `init_empty_weights` inside `FakeDevice`, `take` it, and give it to
`live`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dermray.generators.base import Batch, Generator, Request
from dermray.train_loop import LoopConfig, State
from dermray.train_loop.fake_device import DEVICE, FakeDevice
from tests.generators.conftest import CAPTIONS

__all__ = ["DEVICE", "FakeDevice", "Life", "OneBatch", "live"]


@dataclass
class OneBatch:
    """A task whose images are noise, encoded once."""

    batch: Batch
    unused_parameters: bool = False

    def build(self) -> nn.Module:
        raise AssertionError("it is built already")

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        return (self.batch,)

    def describe(self, step: int, rank: int, workers: int, part: int) -> list[str]:
        return []

    def validation_loss(self, module: nn.Module) -> float | None:
        with torch.no_grad():
            return float(module.eval()(self.batch))

    def save(self, module: nn.Module, directory: Path) -> None:
        raise AssertionError("there are no data to save")

    def pictures(self, module: nn.Module) -> dict[str, Tensor]:
        assert isinstance(module, Generator)
        return {"benign": module.sample([Request(CAPTIONS[1], 0)], 2.0, 2)[0]}

    def words(self, module: nn.Module) -> dict[str, str]:
        return {}

    def scores(self, pictures: dict[str, Tensor]) -> dict[str, float]:
        return {}


@dataclass
class Life:
    """What a generator went through."""

    waits_of_a_step: list[str]
    checkpoint: dict[str, int]  # elements of what is kept, by name
    trained: int
    drawn: Tensor
    state: State


def live(device: FakeDevice, model: Generator, loop: LoopConfig, guidance_scale: float, steps: int) -> Life:
    """Images are encoded; two training steps as the loop makes them, a validation, a preview, images of two prompts."""
    images = torch.zeros(loop.batch_size, 3, *[model.image_size] * 2, dtype=torch.uint8)
    batch = model.collate(model.encode(images.to(DEVICE), [CAPTIONS[i % 2] for i in range(len(images))]))
    task, state = OneBatch(batch), State(model.train(), loop)
    state.advance(task, model, 0, 1)
    before = len(device.waits)
    state.advance(task, model, 0, 1)
    waits = device.waits[before:]
    with state.averaged() as averaged:
        assert isinstance(task.validation_loss(averaged), float)
        assert task.pictures(averaged)["benign"].shape[0] == 3
    drawn = model.sample([Request(caption, 3) for caption in CAPTIONS], guidance_scale, steps)
    kept = {name: value.numel() for name, value in model.state_dict().items() if name in state.kept}
    return Life(waits, kept, sum(p.numel() for p in state.trained), drawn, state)
