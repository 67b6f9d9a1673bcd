"""The batches of a training: in which order images come, drawn from its seed alone, so that a resumed one has the same.

Whatever process prepares a batch, its augmentation is drawn from the seed, the epoch, the worker's rank and the
batch's number.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dermray.classification import team
from dermray.classification.augmentation import preset
from dermray.classification.settings import TrainingSettings


class Pixels(Protocol):
    """Images by their number."""

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """(n, 3, S, S) uint8 of rows (n,)."""


class InMemory:
    """Images that lie in one array (N, 3, S, S) uint8."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """(n, 3, S, S) uint8 of rows (n,)."""
        chosen: np.ndarray = self.images[rows]
        return chosen


def order(labels: np.ndarray, images: int, seed: int, epoch: int, balanced: bool) -> np.ndarray:
    """(images,) places in `labels`: each equally often, as far as it can; or, balanced, each class equally often."""
    rng = np.random.default_rng((seed, epoch))
    if balanced:
        share = 1 / np.bincount(labels)[labels]
        return rng.choice(len(labels), images, p=share / share.sum())
    passes = -(-images // len(labels))
    return np.concatenate([rng.permutation(len(labels)) for _ in range(passes)])[:images]


class _Epoch(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, pixels: Pixels, rows: np.ndarray, labels: np.ndarray, seeds: tuple[int, ...], name: Any) -> None:
        """Of rows and labels (batches, B)."""
        self.pixels, self.rows, self.labels, self.seeds, self.name = pixels, rows, labels, seeds, name

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(self.pixels.pixels(self.rows[number]))
        with torch.random.fork_rng(devices=[]):
            seed = np.random.SeedSequence((*self.seeds, number)).generate_state(1, np.uint64)
            # torch.manual_seed would note a traceback each time, for a GPU that is not in use yet
            torch.default_generator.manual_seed(int(seed[0]))
            images = preset(self.name, images.shape[-1])(images)
        return images, torch.from_numpy(self.labels[number])


def batches(
    pixels: Pixels, rows: np.ndarray, labels: np.ndarray, steps: int, epoch: int, seed: int, settings: TrainingSettings
) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch's `steps` batches: images (B, 3, S, S) uint8 and labels (B,) int64; of several workers this one's share.

    Args:
        rows, labels: (N,) int64, of the training images: numbers in `pixels`, and of their classes.
    """
    size = settings.batch_size
    chosen = order(labels, steps * size, seed, epoch, settings.balance == "sampling").reshape(steps, size)
    mine = chosen[:, team.rank() :: team.size()]
    data = _Epoch(pixels, rows[mine], labels[mine], (seed, epoch, team.rank()), settings.augmentation)
    if settings.loaders == 0:
        return (data[number] for number in range(steps))
    own = torch.Generator()  # DataLoader draws a number that nothing here uses: not from the training's own generator
    return iter(DataLoader(data, batch_size=None, num_workers=settings.loaders, generator=own))
