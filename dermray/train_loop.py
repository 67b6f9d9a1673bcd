"""One Ray Train loop for every model that is trained with gradients over several workers.

A `Task` says what is trained and on what; the loop does the rest: DDP, schedule, EMA, checkpoints, resume. All
randomness of a step is seeded by (seed, step, rank) and the learning rate is a function of the step, so a
checkpoint of weights and optimiser is enough for a resumed training to equal an uninterrupted one bit for bit.
"""

import contextlib
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from dermray import storage
from dermray.config import Config
from dermray.progress import text_at, watched

SKIPPED_STEPS = 5  # before the clock of samples/s starts


class LoopConfig(Config):
    """How to train."""

    steps: int = Field(ge=1)
    batch_size: int = Field(32, ge=1, description="over all workers")
    learning_rate: float = Field(2e-3, gt=0)
    warmup_steps: int = Field(60, ge=0)
    decay_from: float = Field(
        0.5, ge=0, le=1, description="share of the steps after which the rate falls to 0 linearly"
    )
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.999, ge=0, lt=1, description="0 for none")
    seed: int = Field(0, ge=0)
    workers: int = Field(1, ge=1)
    cpus_per_worker: float = Field(1, gt=0)
    gpus_per_worker: float = Field(0, ge=0)
    checkpoint_every: int = Field(200, ge=1, description="steps")
    log_every: int = Field(50, ge=1, description="steps")
    max_failures: int = Field(3, ge=0, description="restarts from the last checkpoint after a worker failed")


class Task(Protocol):
    """What is trained. It travels to the workers by pickle, so it holds configs and paths, not weights."""

    unused_parameters: bool  # whether some steps leave parameters without gradient

    def build(self) -> nn.Module:
        """The module; its forward takes what `arguments` returns and gives a scalar loss."""
        ...

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int) -> tuple[Any, ...]:
        """This worker's share of step `step`."""
        ...

    def describe(self, step: int, rank: int, workers: int) -> str:
        """Which samples step `step` holds, for an error message."""
        ...

    def save(self, module: nn.Module, directory: Path) -> None:
        """Write the trained model."""
        ...


class TrainingFailed(RuntimeError):
    """Training ended early; the last checkpoint is kept and a rerun goes on from it."""


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then constant, then linear to zero from `decay_from` on."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    tail = config.steps * (1 - config.decay_from)
    return config.learning_rate * warm * min(1.0, (config.steps - step) / tail if tail else 1.0)


def ema_update(decay: float) -> Any:
    """EMA whose decay grows as 1 - 10 / (updates + 20) up to `decay`: early averages forget the random start."""

    @torch.no_grad()
    def update(averages: list[Tensor], weights: list[Tensor], updates: Any) -> None:
        share = 1 - min(decay, 1 - 10 / (float(updates) + 20))
        torch._foreach_lerp_(averages, weights, share)

    return update


def fit(task: Task, config: LoopConfig, directory: str) -> dict[str, Any]:
    """Train, and leave the model in `directory`/model. A rerun with the same directory goes on where it stopped.

    Returns:
        steps, loss (mean of the last tenth), samples_per_second (steady), resumed_from (step), losses (curve).

    Raises:
        TrainingFailed: with the cause; checkpoints are kept.
    """
    from dermray.cluster import connect

    connect()
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    system, path = storage.filesystem(directory)
    storage.make_directory(directory)
    progress = storage.join(directory, "progress.txt")
    gpu = config.gpus_per_worker > 0
    resources = {"CPU": config.cpus_per_worker} | ({"GPU": config.gpus_per_worker} if gpu else {})
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"task": task, "config": config.model_dump(), "progress": progress},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=config.workers, use_gpu=gpu, resources_per_worker=resources),
        run_config=RunConfig(
            name="run",
            storage_path=path,
            storage_filesystem=system,
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            failure_config=FailureConfig(max_failures=config.max_failures),
        ),
    )
    try:
        with watched(text_at(progress)):
            result = trainer.fit()
    except TrainingFailedError as error:
        raise TrainingFailed(f"{directory}: {_cause(error)}; the last checkpoint is kept, run again to go on") from None
    with result.checkpoint.as_directory() as last:
        storage.copy_directory(str(Path(last) / "model"), storage.join(directory, "model"))
        history: dict[str, Any] = json.loads((Path(last) / "history.json").read_text())
    storage.delete_tree(storage.join(directory, "run"))
    storage.delete_file(progress)
    return _report(history, config)


def _cause(error: Exception) -> str:
    """The workers' own words, without Ray's frames around them."""
    failures = getattr(error, "worker_failures", None) or {}
    first: BaseException = next(iter(failures.values()), error)
    while getattr(first, "cause", None) is not None:
        first = first.cause  # type: ignore[attr-defined]  # RayTaskError and friends
    text = str(first).strip() or repr(first)
    return f"training stopped: {text.splitlines()[-1]}"


def _report(history: dict[str, Any], config: LoopConfig) -> dict[str, Any]:
    losses = history["losses"]
    tail = [loss for _, loss in losses[-max(1, len(losses) // 10) :]]
    return {
        "steps": config.steps,
        "workers": config.workers,
        "loss": sum(tail) / len(tail),
        "samples_per_second": history["samples_per_second"],
        "resumed_from": history["resumed_from"],
        "losses": losses,
    }


def _worker(settings: dict[str, Any]) -> None:
    """Runs in every worker."""
    from ray import train
    from ray.train.torch import get_device, prepare_model

    config, task = LoopConfig(**settings["config"]), settings["task"]
    context = train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    if config.batch_size % workers:
        raise ValueError(f"batch_size={config.batch_size}: expected a multiple of workers={workers}")
    torch.manual_seed(config.seed)
    state = _State(task.build(), config, settings["progress"])
    checkpoint = train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            state.restore(Path(directory))
    device = get_device()
    state.to(device)
    wrapped = prepare_model(state.module, parallel_strategy_kwargs={"find_unused_parameters": task.unused_parameters})
    clock, clocked_from = time.monotonic(), state.step
    for step in range(state.step, config.steps):
        if step == state.first + SKIPPED_STEPS:
            clock, clocked_from = time.monotonic(), step
        torch.manual_seed(config.seed * 1_000_003 + step * 1009 + rank)
        loss = wrapped(*task.arguments(state.module, step, rank, workers))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ValueError(f"loss is {value} at step {step} on samples {task.describe(step, rank, workers)}")
        state.update(loss)
        if rank == 0:
            state.log(value, clock, clocked_from)
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            with _saved(state, task, rank) as saved:
                train.report({"step": state.step, "loss": value}, checkpoint=saved)


class _State:
    """Everything that a step changes."""

    def __init__(self, module: nn.Module, config: LoopConfig, progress: str) -> None:
        self.module, self.config, self.progress = module, config, progress
        self.step = self.first = 0
        self.ema = (
            torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=ema_update(config.ema_decay))
            if config.ema_decay
            else None
        )
        self.optimizer = torch.optim.AdamW(
            module.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
        self.losses: list[tuple[int, float]] = []  # (step, mean since the entry before)
        self.recent: list[float] = []
        self.samples_per_second = 0.0

    def to(self, device: torch.device) -> None:
        """Move EMA too; prepare_model moves the module, and its parameters stay the optimiser's."""
        self.module.to(device)
        if self.ema is not None:
            self.ema.to(device)

    def update(self, loss: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip_norm)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update_parameters(self.module)
        self.step += 1

    def log(self, loss: float, clock: float, clocked_from: int) -> None:
        """Keep the loss; write a line every `log_every` steps."""
        self.recent.append(loss)
        done = self.step - clocked_from
        if done > 0:
            self.samples_per_second = done * self.config.batch_size / (time.monotonic() - clock)
        if self.step % self.config.log_every and self.step != self.config.steps:
            return
        loss = sum(self.recent) / len(self.recent)
        self.losses.append((self.step, loss))
        self.recent = []
        left = (self.config.steps - self.step) * self.config.batch_size / max(self.samples_per_second, 1e-9)
        speed = f"{self.samples_per_second:.0f} samples/s, {left:.0f} s left"
        line = f"step {self.step} of {self.config.steps}, loss {loss:.4f}, {speed}"
        storage.write_bytes(self.progress, line.encode())

    def save(self, directory: Path) -> None:
        ema = None if self.ema is None else self.ema.state_dict()
        weights = {"module": self.module.state_dict(), "ema": ema, "optimizer": self.optimizer.state_dict()}
        torch.save({"step": self.step, **weights}, directory / "state.pt")
        history = {
            "losses": self.losses,
            "samples_per_second": self.samples_per_second,
            "resumed_from": self.first,
        }
        (directory / "history.json").write_text(json.dumps(history))

    def restore(self, directory: Path) -> None:
        saved = torch.load(directory / "state.pt", map_location="cpu", weights_only=True)
        self.step = self.first = saved["step"]
        self.module.load_state_dict(saved["module"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.ema is not None:
            self.ema.load_state_dict(saved["ema"])
        self.losses = [tuple(pair) for pair in json.loads((directory / "history.json").read_text())["losses"]]

    def trained(self) -> nn.Module:
        """The averaged weights where there are any."""
        if self.ema is not None:
            self.module.load_state_dict(self.ema.module.state_dict())
        return self.module


@contextlib.contextmanager
def _saved(state: _State, task: Task, rank: int) -> Any:
    """Rank 0's checkpoint directory; the last one holds the finished model as well."""
    if rank != 0:
        yield None
        return
    from ray.train import Checkpoint

    with tempfile.TemporaryDirectory() as directory:
        state.save(Path(directory))
        if state.step == state.config.steps:
            task.save(state.trained(), Path(directory) / "model")
        yield Checkpoint.from_directory(directory)
