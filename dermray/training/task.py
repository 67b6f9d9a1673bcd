"""A generator in training, as the loop sees it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dermray.generators.base import Generator, Request, family
from dermray.training.ahead import Place, ReadAhead
from dermray.training.batches import Bucket, Source, captions_for_words
from dermray.training.clip_score import ClipScore
from dermray.training.order import Order
from dermray.training.precompute import read_prior, read_texts
from dermray.training.read_batch import ReadBatch

VALIDATION_BATCH = 16
SAMPLES = "samples/"  # before the names of previews
PREVIEWS_AT_A_TIME = 8  # beside a training, memory is short


@dataclass
class GeneratorTask:
    """A generator and the images that it learns from."""

    family: str
    model: dict[str, Any]
    training: Source
    loop: dict[str, Any]
    flips: bool
    previews: dict[str, Request] = field(default_factory=dict)  # drawn now and then, by name
    guidance_scale: float = 2.0  # of previews
    sampling_steps: int = 20
    clip: str | None = None  # that scores previews
    clip_revision: str | None = None
    validation: Source | None = None  # what is not trained on
    texts: str = ""  # file of encoded texts, if images were encoded ahead
    prior: str = ""  # file of what the untouched base drew, if the family keeps some of that
    unused_parameters: bool = False

    @cached_property
    def images(self) -> Sequence[Bucket]:
        """The buckets, opened where the task runs."""
        return self.training.open()

    @cached_property
    def _held_out(self) -> Sequence[Bucket]:
        return self.validation.open() if self.validation else []

    @cached_property
    def _order(self) -> Order:
        return Order([images.sharding for images in self.images], self.loop["batch_size"], self.loop["seed"])

    def build(self) -> nn.Module:
        """A new generator; its words are those of the training captions."""
        cls = family(self.family)
        config = cls.Config(**self.model)
        captions = captions_for_words(cls, config, self.training.encoded)
        if self.texts:
            made = cls.without_encoders(config, captions, read_texts(self.texts))
        else:
            made = cls.from_captions(config, captions)
        if self.prior:
            made.keep_prior(read_prior(self.prior))
        return made

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        """A part of this worker's encoded share of the batch. The part after it is read meanwhile."""
        assert isinstance(module, Generator)
        place = Place(step, rank, workers, part)
        read = self._ahead.take(place, self._following(place), next(module.parameters()).device)
        return (module.collate(read.samples(module, self.flips)),)

    def describe(self, step: int, rank: int, workers: int, part: int) -> list[str]:
        """Sample ids."""
        self._ahead.rest()  # shards are opened by one thread at a time
        bucket, index = self._part(Place(step, rank, workers, part))
        return self.images[bucket].sample_ids(index)

    @cached_property
    def _ahead(self) -> ReadAhead[ReadBatch]:
        return ReadAhead(self._read)

    def _read(self, place: Place) -> ReadBatch:
        bucket, index = self._part(place)
        epochs = self._order.epochs(place.step, place.rank, place.workers)[place.part :: self.loop["accumulate"]]
        return self.images[bucket].read(index, self.loop["seed"], epochs)

    def _following(self, place: Place) -> Place | None:
        """The part after `place`; None after the last of training."""
        if place.part + 1 < self.loop["accumulate"]:
            return place._replace(part=place.part + 1)
        return place._replace(step=place.step + 1, part=0) if place.step + 1 < self.loop["steps"] else None

    def _part(self, place: Place) -> tuple[int, np.ndarray]:
        """A bucket, and numbers of images in it, whose shards are being opened."""
        bucket, shards = self._order.shards(place.step)
        self.images[bucket].keep(shards)
        _, share = self._order.share(place.step, place.rank, place.workers)
        return bucket, share[place.part :: self.loop["accumulate"]]

    @torch.no_grad()
    def validation_loss(self, module: nn.Module) -> float | None:
        """Mean over the held-out images, batch by batch; a batch's noise has its own seed."""
        if not self.validation:
            return None
        assert isinstance(module, Generator)
        seen, before, total = module.seen, module.training, 0.0
        module.eval()
        with torch.random.fork_rng():
            for number, (images, index) in enumerate(self._validation_batches()):
                torch.manual_seed(number)
                images.keep_for(index)
                total += float(module(module.collate(images.read(index).samples(module, False)))) * len(index)
        module.train(before)
        module.seen = seen
        return total / sum(map(len, self._held_out))

    def _validation_batches(self) -> list[tuple[Bucket, np.ndarray]]:
        """Buckets, and numbers of images in them."""
        return [
            (images, index)
            for images in self._held_out
            for index in np.array_split(np.arange(len(images)), -(-len(images) // VALIDATION_BATCH))
        ]

    def pictures(self, module: nn.Module) -> dict[str, Tensor]:
        """Each preview from the same noise every time."""
        assert isinstance(module, Generator)
        names, requests = list(self.previews), list(self.previews.values())
        images: dict[str, Tensor] = {}
        for start in range(0, len(names), PREVIEWS_AT_A_TIME):
            drawn = module.sample(
                requests[start : start + PREVIEWS_AT_A_TIME], self.guidance_scale, self.sampling_steps
            )
            images |= {f"{SAMPLES}{names[start + i]}": image for i, image in enumerate(drawn)}
        return images

    def words(self, module: nn.Module) -> dict[str, str]:
        """It says nothing."""
        return {}

    def scores(self, pictures: dict[str, Tensor]) -> dict[str, float]:
        """By CLIP, where it is given: of each preview and their mean."""
        if self.clip is None or not pictures:
            return {}
        prompts = [self.previews[name.removeprefix(SAMPLES)].prompt for name in pictures]
        scores = self._clip_score(list(pictures.values()), prompts)
        each = {f"clip_score/{name.removeprefix(SAMPLES)}": score for name, score in zip(pictures, scores, strict=True)}
        return each | {"previews/clip_score": sum(scores) / len(scores)}

    @cached_property
    def _clip_score(self) -> ClipScore:
        assert self.clip is not None
        return ClipScore(self.clip, self.clip_revision)

    def save(self, module: nn.Module, directory: Path) -> None:
        """In the family's own format."""
        assert isinstance(module, Generator)
        module.save(directory)
