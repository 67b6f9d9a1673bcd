"""Everything that a training step changes, and the step."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dermray.train_loop.optimizers import optimizer
from dermray.train_loop.settings import Hopeless, LoopConfig, images_of, learning_rate

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SEEDS = 2  # how a step's seed is made: checkpoints of 1 go on with 1
MOST_NOTED = 4096  # images whose losses are kept for the log's bins


class Task(Protocol):
    """What is trained. It travels to the workers by pickle, so it holds configs and paths, not weights."""

    unused_parameters: bool  # whether some steps leave parameters without gradient

    def build(self) -> nn.Module:
        """The module; its forward takes what `arguments` returns and gives a scalar loss."""
        ...

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        """Part `part` of `accumulate` of this worker's share of step `step`."""
        ...

    def describe(self, step: int, rank: int, workers: int, part: int) -> list[str]:
        """The samples that `arguments` gave, for an error message."""
        ...

    def validation_loss(self, module: nn.Module) -> float | None:
        """The loss on what is not trained on, with the same noise every time; None where there is nothing."""
        ...

    def save(self, module: nn.Module, directory: Path) -> None:
        """Write the trained model."""
        ...

    def pictures(self, module: nn.Module) -> dict[str, Tensor]:
        """(3, H, W) uint8 images to look at while it trains, by name; none where there is nothing to see."""
        ...

    def scores(self, pictures: dict[str, Tensor]) -> dict[str, float]:
        """How good `pictures` are, by the names of curves; none where nobody measures."""
        ...

    def words(self, module: nn.Module) -> dict[str, str]:
        """What it says while it trains, in Markdown, by name; none where there is nothing to read."""
        ...


class State:
    """Everything that a step changes. The module lies on its device already."""

    def __init__(self, module: nn.Module, config: LoopConfig) -> None:
        self.module, self.config = module, config
        self.step = self.first = 0
        self.workers_from: list[tuple[int, int]] = []  # (step, workers), wherever their number changed
        self.seeds = SEEDS
        self.sharded = config.parallel == "fsdp"
        self.trained = [p for p in module.parameters() if p.requires_grad]
        apart = getattr(module, "clipped_apart", None)  # generators say
        self.clipped: list[list[nn.Parameter]] = apart() if apart else [self.trained]
        trained = {name for name, p in module.named_parameters() if p.requires_grad}
        self.kept = trained | {name for name, _ in module.named_buffers()}  # of the state dict, in checkpoints
        if config.gradient_checkpointing:
            _checkpoint_activations(module)
        self.ema = [p.detach().clone() for p in self.trained] if config.ema_decay else []
        self.optimizer = optimizer(
            config.optimizer, self.trained, config.learning_rate, config.betas, config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.trained[0].device.type, enabled=config.precision == "fp16")
        self.gradient_norm = 0.0
        self.by_noise: list[tuple[float, float]] = []  # (noise level, loss) of images since the log's last line
        self.losses: list[tuple[int, float]] = []  # (step, mean since the entry before)
        self.validation_losses: list[tuple[int, float]] = []
        self.recent: list[float] = []
        self.samples_per_second = 0.0
        self.notes_lost: dict[str, int] = {}  # by kind: what the log could not write

    @property
    def workers(self) -> int:
        """That made the last step; 0 before the first."""
        return self.workers_from[-1][1] if self.workers_from else 0

    def advance(self, task: Task, wrapped: Any, rank: int, workers: int) -> float:
        """One step; returns the batch's mean loss. `wrapped` is the module, or DDP around it.

        Shares may be uneven. DDP and FSDP take the mean of the workers' gradients, so a part's mean loss counts as
        often as it has images: (workers / batch size) x its images. Over all parts of all workers these add up to the
        gradient of the batch's mean, as one worker would have it.

        Raises:
            Hopeless: the loss is no number; names the samples.
        """
        config, device = self.config, self.trained[0].device
        if workers != self.workers:
            self.workers_from.append((self.step, workers))
        torch.manual_seed(step_seed(config.seed, self.step, rank, self.seeds))
        images = [images_of(config, rank, workers, part) for part in range(config.accumulate)]
        pieces, seen = list[Tensor](), list[tuple[Tensor, Tensor] | None]()
        for part in range(config.accumulate):
            last = part == config.accumulate - 1
            with contextlib.nullcontext() if last or workers == 1 else wrapped.no_sync():
                arguments = task.arguments(self.module, self.step, rank, workers, part)
                with torch.autocast(device.type, PRECISIONS[config.precision], enabled=config.precision != "fp32"):
                    piece = wrapped(*arguments)
                pieces.append(piece.detach())
                seen.append(getattr(self.module, "seen", None))  # noise and loss of each image, where the module says
                self.scaler.scale(piece * (workers * images[part] / config.batch_size)).backward()
        self.scaler.unscale_(self.optimizer)
        norms = [whole(nn.utils.clip_grad_norm_(group, config.clip_norm)) for group in self.clipped]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        own = torch.stack(pieces).float() @ torch.tensor(images, dtype=torch.float32, device=device) / config.batch_size
        mean = over_all_workers(own) if workers > 1 else own
        batch_loss, losses, noted = self._read(norm, mean, pieces, seen)
        for part, loss in enumerate(losses):
            if not math.isfinite(loss):
                samples = _without_loss(task.describe(self.step, rank, workers, part), noted[part])
                raise Hopeless(f"loss is {loss} at step {self.step} on samples {', '.join(samples)}")
        self._update()
        return batch_loss

    def _read(
        self, norm: Tensor, mean: Tensor, pieces: list[Tensor], seen: list[tuple[Tensor, Tensor] | None]
    ) -> tuple[float, list[float], list[list[tuple[float, float]]]]:
        """The batch's mean loss, the losses of all parts, and (noise level, loss) of their images.

        All of a step's numbers come from the device at once: each reading waits until it has done all that it was told
        before.
        """
        tensors = [norm, mean, *pieces, *(values for pair in seen if pair for values in pair)]
        numbers = iter(torch.cat([tensor.detach().float().flatten() for tensor in tensors]).tolist())
        take = lambda count: list(itertools.islice(numbers, count))  # noqa: E731
        [self.gradient_norm, batch_loss], losses = take(2), take(len(pieces))
        noted = [list(zip(*(take(len(values)) for values in pair), strict=True)) if pair else [] for pair in seen]
        self.by_noise = [*self.by_noise, *itertools.chain(*noted)][-MOST_NOTED:]
        return batch_loss, losses, noted

    def _update(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.step += 1
        if self.ema:
            ema_update(self.ema, self.trained, self.step, self.config.ema_decay)

    def history(self) -> dict[str, Any]:
        """What a checkpoint keeps beside tensors."""
        return {
            "step": self.step,
            "losses": self.losses,
            "validation_losses": self.validation_losses,
            "recent": self.recent,
            "samples_per_second": self.samples_per_second,
            "resumed_from": self.first,
            "workers": self.workers,
            "workers_from_step": self.workers_from,
            "seeds": self.seeds,
            "notes_lost": self.notes_lost,
        }

    def go_on(self, history: dict[str, Any]) -> None:
        """From where `history` was written."""
        self.step = self.first = history["step"]
        self.seeds = history.get("seeds", 1)
        self.losses = [tuple(pair) for pair in history["losses"]]
        self.validation_losses = [tuple(pair) for pair in history["validation_losses"]]
        self.recent = history["recent"]
        self.notes_lost = history.get("notes_lost", {})
        self.workers_from = [tuple(pair) for pair in history.get("workers_from_step", [(0, history["workers"])])]

    @contextlib.contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The module with its averaged weights, where there are any; afterwards with those in training."""
        weights = [local(weight.detach()) for weight in self.trained] if self.ema else []
        kept = [weight.clone() for weight in weights]
        for weight, average in zip(weights, self.ema, strict=True):
            weight.copy_(local(average))
        try:
            yield self.module
        finally:
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)


def _without_loss(samples: list[str], noted: list[tuple[float, float]]) -> list[str]:
    """Those of a part whose own loss is no number, where the module says; else all."""
    wrong = [sample for sample, (_, loss) in zip(samples, noted, strict=False) if not math.isfinite(loss)]
    return wrong or samples


def step_seed(seed: int, step: int, rank: int, seeds: int = SEEDS) -> int:
    """The seed of a worker's noise in a step, 64 bits. The first way of making it gave worker 1009 the noise that
    worker 0 has a step later; numpy's SeedSequence mixes the three so that none of them stands in for another."""
    if seeds == 1:
        return seed * 1_000_003 + step * 1009 + rank
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0])


def over_all_workers(share: Tensor) -> Tensor:
    """The sum over the workers of what each has; its own where there is no group of workers, as in a notebook."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(share)
    return share


def local(tensor: Tensor) -> Tensor:
    """This worker's part of a tensor that FSDP has sharded (a DTensor; its module is slow to import), or all of it."""
    mine: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return mine


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, sharded or not. Every worker has to ask."""
    gathered: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return gathered


@torch.no_grad()
def ema_update(averages: list[Tensor], weights: Sequence[Tensor], updates: int, decay: float) -> None:
    """Move averages towards weights. The decay grows as 1 - 10 / (updates + 20) up to `decay`: early averages forget
    the random start."""
    mine, others = [local(average) for average in averages], [local(weight) for weight in weights]
    torch._foreach_lerp_(mine, others, 1 - min(decay, 1 - 10 / (updates + 20)))


def _checkpoint_activations(module: nn.Module) -> None:
    """Switch on what the models inside offer: diffusers' and transformers' own switches, or the family's."""
    switches: list[Any] = [part for part in module.modules() if hasattr(part, "enable_gradient_checkpointing")]
    for part in switches:
        if any(p.requires_grad for p in part.parameters()):
            part.enable_gradient_checkpointing()
    if not switches:
        raise ValueError("gradient_checkpointing: this family has no part that offers it")
