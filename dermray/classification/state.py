"""How far a training is: its curves, its best weights, and all that it needs to go on after an interruption."""

import io
import time
from typing import Any

import torch
from torch import Tensor, nn

from dermray import storage

VALIDATION_LOSS = "validation_loss"


class State:
    """Of one training.

    Args:
        keep_best: whether the weights of the lowest validation loss are held.
    """

    def __init__(self, model: nn.Module, optimizer: Any, schedule: Any, keep_best: bool) -> None:
        self.parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
        self.keep_best = keep_best
        self.history: list[dict[str, float]] = []  # one line an epoch
        self.best: dict[str, Tensor] | None = None
        self._saved = time.monotonic()

    def add(self, metrics: dict[str, float]) -> None:
        """An epoch is done."""
        self.history.append(metrics)
        if self.keep_best and self.best_epoch == len(self.history):
            self.best = {
                name: tensor.detach().cpu().clone() for name, tensor in self.parts["model"].state_dict().items()
            }

    @property
    def best_epoch(self) -> int | None:
        """The first one of the lowest validation loss, counted from 1; None where none was measured."""
        losses = [metrics[VALIDATION_LOSS] for metrics in self.history if VALIDATION_LOSS in metrics]
        return losses.index(min(losses)) + 1 if losses else None

    def is_stale(self, patience: int | None) -> bool:
        """Whether the last `patience` epochs brought no lower validation loss."""
        best = self.best_epoch
        return patience is not None and best is not None and len(self.history) - best >= patience

    def save(self, uri: str, seconds: float) -> None:
        """Write it, unless that was done within so many seconds."""
        if time.monotonic() - self._saved < seconds:
            return
        buffer = io.BytesIO()
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save(parts | {"history": self.history, "best": self.best}, buffer)
        storage.write_bytes(uri, buffer.getbuffer())
        self._saved = time.monotonic()

    def restore(self, uri: str) -> None:
        """What was saved last; nothing where nothing was."""
        if not storage.exists(uri):
            return
        kept = torch.load(io.BytesIO(storage.read_bytes(uri)), map_location="cpu", weights_only=True)
        self.history, self.best = kept.pop("history"), kept.pop("best")
        for name, values in kept.items():
            self.parts[name].load_state_dict(values)
