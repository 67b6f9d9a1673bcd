"""The training stage: captioned rows in, a generator of any family out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from dermray import manifest, storage
from dermray.config import Config, validate
from dermray.generators.base import Generator, family
from dermray.manifest import Result, Rows
from dermray.train_loop import LoopConfig, fit
from dermray.training.batches import EncodedImages, share_of_step
from dermray.training.encode import encode

CAPTIONS_FOR_VOCABULARY = 100_000


class TrainConfig(Config):
    """Which rows, which family, how long."""

    output: str
    rows: str = Field(description="result of the caption stage")
    family: str = "pixel_dermdit"
    model: dict[str, Any] = Field({}, description="the family's own config")
    flips: bool = Field(True, description="quarter turns and mirroring: lesions have no up")
    loop: LoopConfig


def run(config: TrainConfig) -> Result:
    """Train on the train split and nothing else. An interrupted run goes on from its last checkpoint.

    Raises:
        ValueError, FileNotFoundError: unknown family, wrong model config, missing or empty rows.
    """
    settings = validate(family(config.family).Config, config.model, where=f"model of family {config.family}")
    rows = manifest.read(config.rows, "caption")
    with manifest.work("train", config.output, config, {"rows": rows}) as work:
        if work.finished:
            return work.finished
        from dermray.cluster import connect

        connect()
        encoded = storage.join(work.data, "encoded")
        size: int = settings.image_size  # type: ignore[attr-defined]  # every family's config has one
        about = encode(storage.join(rows.data, "rows"), encoded, size)
        task = GeneratorTask(config.family, settings.model_dump(), encoded, config.loop.model_dump(), config.flips)
        report = fit(task, config.loop, work.data)
        counts = Rows(rows_in=about["rows"], ok=about["rows"], rejected=0, failed=0)
        workers = config.loop.workers
        return work.commit(
            counts,
            cpus=workers * config.loop.cpus_per_worker,
            gpus=workers * config.loop.gpus_per_worker,
            training=report,
            family=config.family,
        )


def load_generator(result: Result) -> Generator:
    """The generator of a finished training.

    Raises:
        ValueError: the checkpoint is another family's than the manifest says.
    """
    directory = storage.local_copy(storage.join(result.data, "model"), storage.cache())
    return family(result.manifest.config["family"]).load(Path(directory)).eval()


@dataclass
class GeneratorTask:
    """A generator and the shards that it learns from."""

    family: str
    model: dict[str, Any]
    encoded: str
    loop: dict[str, Any]
    flips: bool
    unused_parameters: bool = False
    _images: EncodedImages | None = field(default=None, repr=False)

    @property
    def images(self) -> EncodedImages:
        """Opened where the task runs."""
        if self._images is None:
            self._images = EncodedImages(self.encoded)
        return self._images

    def build(self) -> nn.Module:
        """A new generator; its words are those of the training captions."""
        cls = family(self.family)
        captions = self.images.captions(np.arange(min(len(self.images), CAPTIONS_FOR_VOCABULARY)))
        return cls.from_captions(cls.Config(**self.model), captions)

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        """A part of this worker's encoded share of the batch."""
        assert isinstance(module, Generator)
        index = self._share(step, rank, workers)[part :: self.loop["accumulate"]]
        pixels = self.images.pixels(index)
        if self.flips:
            pixels = turn(pixels)
        device = next(module.parameters()).device
        return (module.collate(module.encode(pixels.to(device), self.images.captions(index))),)

    def describe(self, step: int, rank: int, workers: int) -> str:
        """Sample ids of a share."""
        return ", ".join(self.images.sample_ids(self._share(step, rank, workers)))

    def save(self, module: nn.Module, directory: Path) -> None:
        """In the family's own format."""
        assert isinstance(module, Generator)
        module.save(directory)

    def _share(self, step: int, rank: int, workers: int) -> np.ndarray:
        return share_of_step(len(self.images), self.loop["seed"], step, self.loop["batch_size"], rank, workers)


def turn(images: Tensor) -> Tensor:
    """A batch in one random of the eight orientations of a square."""
    turned = torch.rot90(images, int(torch.randint(4, ())), (2, 3))
    return turned.flip(3) if int(torch.randint(2, ())) else turned
