"""One Ray Train loop for every model that is trained with gradients over several workers.

A `Task` says what is trained and on what; the loop does the rest: DDP, precision, accumulation, schedule, EMA,
checkpoints, resume. All randomness of a step is seeded by (seed, step, rank) and the learning rate is a function of the
step, so a checkpoint of trained weights, their averages, optimiser and loss scale is enough for a resumed training to
equal an uninterrupted one bit for bit. Frozen weights are in no checkpoint: the task builds them again.
"""

import contextlib
import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from dermray import storage
from dermray.config import Config, ConfigError, HowFast
from dermray.progress import text_at, watched

SKIPPED_STEPS = 5  # before the clock of samples/s starts
PROGRESS = "progress.txt"
NOISE_BINS = 4
MOST_NOTED = 4096  # images whose losses are kept for the bins
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class LoopConfig(Config):
    """How to train."""

    steps: int = Field(ge=1)
    batch_size: int = Field(32, ge=1, description="images per step, over all workers and accumulated parts")
    accumulate: int = Field(1, ge=1, description="parts that a worker's share of a batch is computed in")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of the forward pass; weights stay as built")
    gradient_checkpointing: bool = Field(False, description="compute activations again instead of keeping them")
    compile: bool = Field(False, description="torch.compile: minutes at the start, faster steps")
    optimizer: Literal["adamw", "adamw8bit"] = Field("adamw", description="adamw8bit is bitsandbytes', on GPUs")
    learning_rate: float = Field(2e-3, gt=0)
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="how the rate falls to 0")
    warmup_steps: int = Field(60, ge=0)
    decay_from: float = Field(0.5, ge=0, le=1, description="share of the steps after which the rate starts to fall")
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.999, ge=0, lt=1, description="0 for none")
    seed: int = Field(0, ge=0)
    workers: int | tuple[int, int] = Field(
        1, description="a number, or [min, max]: as many as the cluster has room for"
    )
    cpus_per_worker: HowFast[float] = Field(1, gt=0)
    gpus_per_worker: float = Field(0, ge=0)
    checkpoint_every: int = Field(200, ge=1, description="steps")
    keep_checkpoints: HowFast[int] = Field(2, ge=1, description="the last so many")
    log_every: int = Field(50, ge=1, description="steps")
    pictures_every: HowFast[int] = Field(1000, ge=1, description="steps between images in TensorBoard; also at the end")
    max_failures: HowFast[int] = Field(3, ge=0, description="restarts from the last checkpoint after a worker failed")

    @property
    def least_and_most(self) -> tuple[int, int]:
        """Workers."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else self.workers


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


class TrainingFailed(RuntimeError):
    """Training ended early; the last checkpoint is kept and a rerun goes on from it."""


def check(config: LoopConfig) -> None:
    """What no field alone can say.

    Raises:
        ConfigError: fewer than one worker, or a batch that some number of workers cannot share evenly.
    """
    least, most = config.least_and_most
    if not 1 <= least <= most:
        raise ConfigError(f"loop.workers={config.workers}: expected at least 1, and [min, max] in this order")
    for workers in range(least, most + 1):
        if config.batch_size % (workers * config.accumulate):
            shares = f"workers={workers} x accumulate={config.accumulate}"
            raise ConfigError(f"loop.batch_size={config.batch_size}: expected a multiple of {shares}")


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then constant, then linearly or by half a cosine to zero from `decay_from` on."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    tail = config.steps * (1 - config.decay_from)
    left = min(1.0, (config.steps - step) / tail) if tail and config.schedule != "constant" else 1.0
    if config.schedule == "cosine":
        left = (1 - math.cos(math.pi * left)) / 2
    return config.learning_rate * warm * left


@torch.no_grad()
def ema_update(averages: list[Tensor], weights: Sequence[Tensor], updates: int, decay: float) -> None:
    """Move averages towards weights. The decay grows as 1 - 10 / (updates + 20) up to `decay`: early averages forget
    the random start."""
    torch._foreach_lerp_(averages, list(weights), 1 - min(decay, 1 - 10 / (updates + 20)))


def fit(task: Task, config: LoopConfig, directory: str) -> dict[str, Any]:
    """Train, and leave the model in `directory`/model. A rerun with the same directory goes on where it stopped.

    Returns:
        steps, loss (mean of the last tenth), samples_per_second (steady), resumed_from (step), losses (curve).

    Raises:
        ConfigError: see `check`. TrainingFailed: with the cause; checkpoints are kept.
    """
    from dermray.cluster import connect

    check(config)
    connect()
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    system, path = storage.filesystem(directory)
    storage.make_directory(directory)
    progress = storage.join(directory, PROGRESS)
    gpu = config.gpus_per_worker > 0
    resources = {"CPU": config.cpus_per_worker} | ({"GPU": config.gpus_per_worker} if gpu else {})
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"task": task, "config": config.model_dump(), "directory": directory},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=config.workers, use_gpu=gpu, resources_per_worker=resources),
        run_config=RunConfig(
            name="run",
            storage_path=path,
            storage_filesystem=system,
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints),
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
        "workers": history["workers"],
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
    torch.manual_seed(config.seed)
    device = get_device()
    state = State(task.build().to(device), config)
    checkpoint = train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            state.restore(Path(directory))
    wrapped = prepare_model(state.module, parallel_strategy_kwargs={"find_unused_parameters": task.unused_parameters})
    if config.compile:
        wrapped = torch.compile(wrapped)
    log = TrainingLog(settings["directory"], config, state) if rank == 0 else None
    while state.step < config.steps:
        loss = state.advance(task, wrapped, rank, workers)
        if log is not None:
            log.step(loss)
        if log is not None and (state.step % config.pictures_every == 0 or state.step == config.steps):
            with state.averaged() as module:
                log.pictures(task.pictures(module))
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            if log is not None:
                log.flush()
            with _saved(state, task, rank) as saved:
                train.report({"step": state.step, "loss": loss}, checkpoint=saved)


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
        self.by_noise: list[
            tuple[float, float]
        ] = []  # (noise level, loss) of this worker's images, until they are logged
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


class TrainingLog:
    """What is seen of a training while it runs: a line of progress, and TensorBoard in `directory`/tensorboard."""

    def __init__(self, directory: str, config: LoopConfig, state: State) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.directory, self.config, self.state = directory, config, state
        self.clock, self.clocked_from, self.skip_to = time.monotonic(), state.step, state.step + SKIPPED_STEPS
        self.target = storage.join(directory, "tensorboard")
        self.local = tempfile.mkdtemp() if storage.is_s3(directory) else self.target
        self.writer = SummaryWriter(self.local, purge_step=state.step + 1)

    def step(self, loss: float) -> None:
        """Keep the loss; every `log_every` steps write the mean since the last time."""
        state = self.state
        state.recent.append(loss)
        if state.step == self.skip_to:
            self.clock, self.clocked_from = time.monotonic(), state.step
        elif state.step > self.clocked_from:
            done = state.step - self.clocked_from
            state.samples_per_second = done * self.config.batch_size / (time.monotonic() - self.clock)
        if state.step % self.config.log_every and state.step != self.config.steps:
            return
        mean = sum(state.recent) / len(state.recent)
        state.losses.append((state.step, mean))
        state.recent = []
        left = (self.config.steps - state.step) * self.config.batch_size / max(state.samples_per_second, 1e-9)
        speed = f"{state.samples_per_second:.0f} samples/s, {left:.0f} s left"
        line = f"step {state.step} of {self.config.steps}, loss {mean:.4f}, {speed}"
        storage.write_bytes(storage.join(self.directory, PROGRESS), line.encode())
        values = {"loss": mean, "gradient_norm": state.gradient_norm, "samples_per_second": state.samples_per_second,
                  "learning_rate": learning_rate(state.step - 1, self.config)}  # fmt: skip
        for name, value in values.items():
            self.writer.add_scalar(f"train/{name}", value, state.step)
        for low in range(NOISE_BINS):
            found = [loss for level, loss in state.by_noise if min(int(level * NOISE_BINS), NOISE_BINS - 1) == low]
            if found:
                name = f"loss_by_noise/{low / NOISE_BINS:.2f} to {(low + 1) / NOISE_BINS:.2f}"
                self.writer.add_scalar(name, sum(found) / len(found), state.step)
        state.by_noise = []

    def pictures(self, images: dict[str, Tensor]) -> None:
        """Images beside the curves."""
        for name, image in images.items():
            self.writer.add_image(name, image, self.state.step)

    def flush(self) -> None:
        """Everything so far to where it can be read."""
        self.writer.flush()
        if self.local != self.target:
            storage.copy_directory(self.local, self.target)


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


@contextlib.contextmanager
def _saved(state: State, task: Task, rank: int) -> Any:
    """Rank 0's checkpoint directory; the last one holds the finished model as well."""
    if rank != 0:
        yield None
        return
    from ray.train import Checkpoint

    with tempfile.TemporaryDirectory() as directory:
        state.save(Path(directory))
        if state.step == state.config.steps:
            with state.averaged() as module:
                task.save(module, Path(directory) / "model")
        yield Checkpoint.from_directory(directory)
