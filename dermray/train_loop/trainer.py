"""The loop on Ray Train: workers, checkpoints, restarts."""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from dermray import storage
from dermray.progress import text_at, watched
from dermray.train_loop.log import PROGRESS, TrainingLog
from dermray.train_loop.settings import LoopConfig, check
from dermray.train_loop.state import State, Task


class TrainingFailed(RuntimeError):
    """Training ended early; the last checkpoint is kept and a rerun goes on from it."""


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
