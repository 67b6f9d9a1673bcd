"""A vision-language model in tuning, as the loop sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dermray.config import validate
from dermray.train_loop.settings import LoopConfig, images_of
from dermray.train_loop.state import PRECISIONS
from dermray.training.ahead import Place, ReadAhead
from dermray.vlm.tuning import adapters
from dermray.vlm.tuning.answers import answered
from dermray.vlm.tuning.encode import Tokens
from dermray.vlm.tuning.order import WINDOW, LengthOrder
from dermray.vlm.tuning.settings import TuneConfig
from dermray.vlm.tuning.shards import Conversations
from dermray.vlm.tuning.tuned import Inputs, Tuned

VALIDATION_BATCH = 8


@dataclass
class VlmTask:
    """A model and the conversations that it learns from. It travels to workers: settings and places, no weights."""

    settings: dict[str, Any]  # of TuneConfig, with the steps that its epochs are
    tokens: Tokens
    training: str  # what `encode` wrote
    validation: str = ""  # what is not trained on
    unused_parameters: bool = field(init=False)

    def __post_init__(self) -> None:
        """Models read a vision tower's states before its last layer, whose weights then have no gradient."""
        self.unused_parameters = self.config.method == "full" or "vision_tower" in self.config.parts

    @cached_property
    def config(self) -> TuneConfig:
        """The typed config."""
        return validate(TuneConfig, self.settings)

    @property
    def loop(self) -> LoopConfig:
        """How it is trained."""
        return self.config.loop

    @cached_property
    def _conversations(self) -> Conversations:
        return Conversations(self.training)

    @cached_property
    def _held_out(self) -> Conversations:
        return Conversations(self.validation)

    @cached_property
    def _order(self) -> LengthOrder:
        conversations, window = self._conversations, WINDOW if self.config.by_length else 1
        return LengthOrder(conversations.sharding, conversations.lengths, self.loop.batch_size, self.loop.seed, window)

    def build(self) -> nn.Module:
        """The base with what is trained of it."""
        config, base = self.config, self.tokens.base
        adapter = adapters.locate_adapter(config.start_from) if config.start_from else None
        return Tuned(adapters.prepared(base.load(), base, config, adapter))

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        """A part of this worker's share of the batch, and which share of the whole it is; the next is read meanwhile.

        The loop weighs a part's loss by its conversations, as if it were the mean over these. It shall count by its
        tokens: of a batch with N tokens and B conversations, b of them here, sum / (N b / B) weighed by b / B is
        sum / N. All parts of all workers then add up to the mean over the tokens of the whole batch, however it is
        shared (transformers calls N num_items_in_batch). Everyone knows N without asking, as the order is known and
        shards say how many each conversation has.
        """
        place, device = Place(step, rank, workers, part), next(module.parameters()).device
        inputs = self._ahead.take(place, self._following(place), device)
        share = images_of(self.loop, rank, workers, part) / self.loop.batch_size
        return inputs.moved(lambda tensor: tensor.to(device)), share

    def describe(self, step: int, rank: int, workers: int, part: int) -> list[str]:
        """Sample ids, and which conversation of each."""
        self._ahead.rest()  # shards are opened by one thread at a time
        return self._conversations.sample_ids(self._part(Place(step, rank, workers, part)))

    @cached_property
    def _ahead(self) -> ReadAhead[Inputs]:
        return ReadAhead(self._read)

    def _read(self, place: Place) -> Inputs:
        conversations = self._conversations
        batch = self.tokens.batch(conversations.read(self._part(place)))
        return Inputs.of(batch, conversations.learned(self._order.share(place.step)))

    def _following(self, place: Place) -> Place | None:
        """The part after `place`; None after the last of training."""
        if place.part + 1 < self.loop.accumulate:
            return place._replace(part=place.part + 1)
        return place._replace(step=place.step + 1, part=0) if place.step + 1 < self.loop.steps else None

    def _part(self, place: Place) -> np.ndarray:
        """Numbers of conversations, whose shards are being opened."""
        self._conversations.keep(self._order.shards(place.step))
        return self._order.share(place.step, place.rank, place.workers)[place.part :: self.loop.accumulate]

    def validation_loss(self, module: nn.Module) -> float | None:
        """Mean over the tokens of all held-out answers."""
        if not self.validation:
            return None
        total, held_out = 0.0, self._held_out
        with self._judging(module) as device:
            for index in held_out.parts(VALIDATION_BATCH):
                held_out.keep_for(index)
                inputs = Inputs.of(self.tokens.batch(held_out.read(index)))
                total += float(module(inputs.moved(lambda tensor: tensor.to(device)), 1.0))
        return total / held_out.learned(np.arange(len(held_out)))

    def words(self, module: nn.Module) -> dict[str, str]:
        """Greedy answers about some held-out images, beside what was expected."""
        if not self.validation:
            return {}
        assert isinstance(module, Tuned)
        chosen = np.arange(min(self.config.answers, len(self._held_out)))
        with self._judging(module) as device:
            return dict(
                answered(module, self.tokens.collator(), conversation, self.config.answer_tokens, device)
                for conversation in self._held_out.read(chosen)
            )

    @contextmanager
    def _judging(self, module: nn.Module) -> Iterator[torch.device]:
        """Without dropout, gradients, or a trace in the numbers that are drawn next; in training's precision."""
        before, device = module.training, next(module.parameters()).device
        precision = self.loop.precision
        module.eval()
        try:
            with (
                torch.no_grad(), torch.random.fork_rng(),
                torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32"),
            ):  # fmt: skip
                yield device
        finally:
            module.train(before)

    def pictures(self, module: nn.Module) -> dict[str, Tensor]:
        """It draws none."""
        return {}

    def scores(self, pictures: dict[str, Tensor]) -> dict[str, float]:
        """There are none to score."""
        return {}

    def save(self, module: nn.Module, directory: Path) -> None:
        """The adapter or the whole model, and its processor."""
        assert isinstance(module, Tuned)
        adapters.save(module.model, self.tokens.base, directory)
        self.tokens.base.processor().save_pretrained(directory)
