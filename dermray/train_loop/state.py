"""Everything that a training step changes, and the step."""

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dermray.train_loop.settings import LoopConfig, learning_rate

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
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

    def describe(self, step: int, rank: int, workers: int) -> str:
        """Which samples step `step` holds, for an error message."""
        ...

    def save(self, module: nn.Module, directory: Path) -> None:
        """Write the trained model."""
        ...

    def pictures(self, module: nn.Module) -> dict[str, Tensor]:
        """(3, H, W) uint8 images to look at while it trains, by name; none where there is nothing to see."""
        ...


class State:
    """Everything that a step changes. The module lies on its device already."""

    def __init__(self, module: nn.Module, config: LoopConfig) -> None:
        self.module, self.config = module, config
        self.step = self.first = 0
        self.workers = 1
        self.trained = [p for p in module.parameters() if p.requires_grad]
        self.frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
        if config.gradient_checkpointing:
            _checkpoint_activations(module)
        self.ema = [p.detach().clone() for p in self.trained] if config.ema_decay else []
        self.optimizer = _optimizer(self.trained, config)
        self.scaler = torch.amp.GradScaler(self.trained[0].device.type, enabled=config.precision == "fp16")
        self.gradient_norm = 0.0
        self.by_noise: list[tuple[float, float]] = []  # (noise level, loss) of images since the log's last line
        self.losses: list[tuple[int, float]] = []  # (step, mean since the entry before)
        self.recent: list[float] = []
        self.samples_per_second = 0.0

    def advance(self, task: Task, wrapped: Any, rank: int, workers: int) -> float:
        """One step; returns this worker's loss. `wrapped` is the module, or DDP around it.

        Raises:
            ValueError: the loss is no number; names the samples.
        """
        config, device, self.workers = self.config, self.trained[0].device, workers
        torch.manual_seed(config.seed * 1_000_003 + self.step * 1009 + rank)
        loss = 0.0
        for part in range(config.accumulate):
            last = part == config.accumulate - 1
            with contextlib.nullcontext() if last or workers == 1 else wrapped.no_sync():
                arguments = task.arguments(self.module, self.step, rank, workers, part)
                with torch.autocast(device.type, PRECISIONS[config.precision], enabled=config.precision != "fp32"):
                    piece = wrapped(*arguments) / config.accumulate
                loss += float(piece.detach())
                self._note_noise()
                if not math.isfinite(loss):
                    samples = task.describe(self.step, rank, workers)
                    raise ValueError(f"loss is {loss} at step {self.step} on samples {samples}")
                self.scaler.scale(piece).backward()
        self._update()
        return loss

    def _note_noise(self) -> None:
        """Generators say how much noise their last images had and what that cost."""
        if (seen := getattr(self.module, "seen", None)) is not None:
            self.by_noise = [*self.by_noise, *zip(*(values.tolist() for values in seen), strict=True)][-MOST_NOTED:]

    def _update(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        self.scaler.unscale_(self.optimizer)
        self.gradient_norm = float(torch.nn.utils.clip_grad_norm_(self.trained, self.config.clip_norm))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.step += 1
        if self.ema:
            ema_update(self.ema, self.trained, self.step, self.config.ema_decay)

    def save(self, directory: Path) -> None:
        """`state.pt` and `history.json`."""
        module = {name: value for name, value in self.module.state_dict().items() if name not in self.frozen}
        saved = {"step": self.step, "module": module, "ema": self.ema, "optimizer": self.optimizer.state_dict()}
        torch.save(saved | {"scaler": self.scaler.state_dict()}, directory / "state.pt")
        history = {
            "losses": self.losses,
            "recent": self.recent,
            "samples_per_second": self.samples_per_second,
            "resumed_from": self.first,
            "workers": self.workers,
        }
        (directory / "history.json").write_text(json.dumps(history))

    def restore(self, directory: Path) -> None:
        """What `save` wrote."""
        saved = torch.load(directory / "state.pt", map_location=self.trained[0].device, weights_only=True)
        self.step = self.first = saved["step"]
        missing, unexpected = self.module.load_state_dict(saved["module"], strict=False)
        assert not unexpected and set(missing) <= self.frozen, (missing, unexpected)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.ema = saved["ema"]
        history = json.loads((directory / "history.json").read_text())
        self.losses, self.recent = [tuple(pair) for pair in history["losses"]], history["recent"]

    @contextlib.contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The module with its averaged weights, where there are any; afterwards with those in training."""
        kept = [weight.detach().clone() for weight in self.trained] if self.ema else []
        for weight, average in zip(self.trained, self.ema, strict=False):
            weight.data.copy_(average)
        try:
            yield self.module
        finally:
            for weight, before in zip(self.trained, kept, strict=False):
                weight.data.copy_(before)


@torch.no_grad()
def ema_update(averages: list[Tensor], weights: Sequence[Tensor], updates: int, decay: float) -> None:
    """Move averages towards weights. The decay grows as 1 - 10 / (updates + 20) up to `decay`: early averages forget
    the random start."""
    torch._foreach_lerp_(averages, list(weights), 1 - min(decay, 1 - 10 / (updates + 20)))


def _optimizer(weights: list[nn.Parameter], config: LoopConfig) -> torch.optim.Optimizer:
    options = {"lr": config.learning_rate, "betas": config.betas, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(weights, fused=True, **options)  # type: ignore[arg-type]  # a dict of several types
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise ValueError("optimizer=adamw8bit: needs bitsandbytes (pip install bitsandbytes) and a GPU") from None
    return AdamW8bit(weights, **options)


def _checkpoint_activations(module: nn.Module) -> None:
    """Switch on what the models inside offer: diffusers' and transformers' own switches, or the family's."""
    switches: list[Any] = [part for part in module.modules() if hasattr(part, "enable_gradient_checkpointing")]
    for part in switches:
        if any(p.requires_grad for p in part.parameters()):
            part.enable_gradient_checkpointing()
    if not switches:
        raise ValueError("gradient_checkpointing: this family has no part that offers it")
