"""Train one classifier on images by their numbers, and score images. Pure torch."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dermray.backbones.networks import Backbone, Classifier, build
from dermray.classification import team
from dermray.classification.batches import Pixels, batches
from dermray.classification.settings import TrainingSettings
from dermray.classification.state import VALIDATION_LOSS, State

AT_ONCE = 256  # images scored together
RISE = 0.25  # of a one-cycle schedule's steps

Images = tuple[np.ndarray, np.ndarray]  # rows and labels, (N,) int64 each
Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Trained:
    """A classifier in evaluation mode, and how it came to be."""

    model: Classifier
    history: list[dict[str, float]]  # an epoch: step, loss, learning_rate; with validation its loss and accuracy
    best_epoch: int | None  # the one of the lowest validation loss, from 1; None without validation


def train(
    pixels: Pixels,
    rows: np.ndarray,
    labels: np.ndarray,
    validation: Images | None,
    backbone: Backbone,
    settings: TrainingSettings,
    outputs: int,
    seed: int,
    resume: str | None = None,
    report: Report | None = None,
    device: str = "cpu",
) -> Trained:
    """The same bits for the same seed on the same machine, interrupted or not.

    Several processes that share a torch.distributed group train one classifier: each calls this with the same
    arguments and takes its share of every batch and of the validation images; the first one reports and saves.

    Args:
        rows, labels: (N,) int64, numbers of the training images in `pixels` and of their classes.
        validation: the same of images that decide when to stop and what to keep.
        outputs: logits; 1 for labels 0 and 1, otherwise one for each class.
        resume: URI of a file in which the state is kept from time to time, and gone on from where it is there. It is
            for this training alone: nothing in it tells other images or settings.
        report: called after each epoch with its number, from 1, and its line of `history`.

    Raises:
        FileNotFoundError, ValueError: weights that are not there or do not fit, no validation images where settings
            need some, or a loss that is no number.
    """
    if settings.needs_validation and (validation is None or len(validation[0]) == 0):
        raise ValueError("patience and keep=best need validation images, and there are none; leave both out")
    team.require_shares(settings.batch_size, team.size())
    torch.manual_seed(seed)
    model = build(backbone, outputs).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=backbone.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    rounds = settings.rounds(len(rows))
    schedule = _schedule(optimizer, settings, backbone.learning_rate, sum(rounds))
    state = State(model, optimizer, schedule, settings.keep == "best")
    if resume is not None:
        state.restore(resume)
    weights = class_weights(labels, max(2, outputs), settings.balance == "class_weights").to(device)
    forward = torch.compile(team.shared(model)) if settings.compile else team.shared(model)
    step = _Step(forward, optimizer, schedule, weights, settings.precision)
    while len(state.history) < len(rounds) and not state.is_stale(settings.patience):
        epoch = len(state.history)
        torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))  # of dropout
        loss = step.all_of(batches(pixels, rows, labels, rounds[epoch], epoch, seed, settings))
        rate = float(schedule.get_last_lr()[0])
        metrics = {"step": float(sum(rounds[: epoch + 1])), "loss": loss, "learning_rate": rate}
        if validation is not None and len(validation[0]):
            metrics |= validated(model, pixels, validation)
        _require_numbers(metrics, epoch + 1)
        state.add(metrics)
        if report is not None and team.rank() == 0:
            report(epoch + 1, metrics)
        if resume is not None and team.rank() == 0:
            state.save(resume, settings.save_seconds)
    if state.best is not None:
        model.load_state_dict(state.best)
    return Trained(model.eval(), state.history, state.best_epoch)


@dataclass
class _Step:
    """One step of the optimizer after another."""

    forward: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    weights: Tensor  # (C,) of classes in the loss
    precision: str

    def all_of(self, batches: Any) -> float:
        """The mean loss over an epoch's batches, which is asked for once: on a GPU each time is a wait."""
        device, losses = self.weights.device, list[Tensor]()
        for images, labels in batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                logits = self.forward(images.to(device, non_blocking=True))
            expected = labels.to(device, non_blocking=True)
            loss = loss_of(logits.float(), expected, self.weights) * self._share(expected)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            losses.append(loss.detach())
        return float(team.mean(torch.stack(losses).mean()))

    def _share(self, labels: Tensor) -> Tensor | float:
        """What this worker's weighted mean counts in that over all: their classes, and so their weights, differ."""
        if team.size() == 1:
            return 1.0
        weight = self.weights[labels].sum()
        return weight / team.mean(weight)


def _schedule(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, rate: float, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """A learning rate for each of so many steps."""
    schedules = torch.optim.lr_scheduler
    if settings.schedule == "one_cycle":
        # torch divides by the rise's steps less one: of a rise of one step, those of four in all, there are none
        rise = RISE if steps * RISE != 1 else 2 * RISE
        return schedules.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=rise)
    if settings.schedule == "cosine":
        return schedules.CosineAnnealingLR(optimizer, steps)
    return schedules.ConstantLR(optimizer, factor=1)


def loss_of(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean cross-entropy, binary where there is one logit, weighted by class as torch's `cross_entropy` weights.

    Args:
        logits: (B, 1) or (B, C). labels: (B,) int64. weights: (C,), 2 for one logit.
    """
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, labels, weights)
    weight = weights[labels]
    losses = F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), weight, reduction="sum")
    return losses / weight.sum()


def class_weights(labels: np.ndarray, classes: int, balanced: bool) -> Tensor:
    """(C,) float32: ones, or such that all classes that occur weigh the same, N / (C * n_c)."""
    if not balanced:
        return torch.ones(classes)
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy(len(labels) / (classes * np.maximum(counts, 1))).float()


def validated(model: Classifier, pixels: Pixels, images: Images) -> dict[str, float]:
    """Loss and accuracy on validation images; leaves the model in training mode."""
    device = next(model.parameters()).device
    rows, labels = (part[team.rank() :: team.size()] for part in images)
    sums = torch.zeros(2, dtype=torch.float64)
    for start, logits in zip(range(0, len(rows), AT_ONCE), _logits(model.eval(), pixels, rows, AT_ONCE), strict=True):
        expected = torch.from_numpy(labels[start : start + AT_ONCE])
        ones = torch.ones(max(2, logits.shape[1]))
        sums[0] += len(logits) * loss_of(logits, expected, ones).double()
        sums[1] += int((to_probabilities(logits).argmax(1) == expected.numpy()).sum())
    model.train()
    loss, right = (team.total(sums.to(device)) / len(images[0])).tolist()
    return {VALIDATION_LOSS: loss, "validation_accuracy": right}


def _require_numbers(metrics: dict[str, float], epoch: int) -> None:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ValueError(
                f"epoch {epoch}: {name} is {value}; lower backbone.learning_rate, or take precision=float32"
            )


@torch.inference_mode()
def _logits(model: nn.Module, pixels: Pixels, rows: np.ndarray, at_once: int) -> Iterator[Tensor]:
    device = next(model.parameters()).device
    for start in range(0, len(rows), at_once):
        yield model(torch.from_numpy(pixels.pixels(rows[start : start + at_once])).to(device)).float().cpu()


def probabilities(model: nn.Module, pixels: Pixels, rows: np.ndarray, at_once: int = AT_ONCE) -> np.ndarray:
    """(N, C) float64 of a model in evaluation mode, for images by their numbers."""
    return np.concatenate([to_probabilities(part) for part in _logits(model, pixels, rows, at_once)])


def to_probabilities(logits: Tensor) -> np.ndarray:
    """(B, C) float64: of one logit those of class 0 and 1, of several their softmax."""
    values = logits.double()
    if values.shape[1] == 1:
        values = torch.cat([-values / 2, values / 2], 1)  # whose softmax is the sigmoid
    return np.asarray(values.softmax(1).numpy())
