"""The loop on Ray Train: workers, checkpoints, restarts."""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from dermray import storage
from dermray.progress import text_at, watched
from dermray.train_loop.checkpoint import restore, save, save_model
from dermray.train_loop.log import PROGRESS, TrainingLog, end_mlflow_run, mlflow_client
from dermray.train_loop.settings import Hopeless, LoopConfig, check
from dermray.train_loop.state import State, Task

HOPELESS = "hopeless.txt"
UPLOAD_SECONDS = 600  # at most, that a failed worker waits for its last checkpoint to be copied


class TrainingFailed(RuntimeError):
    """Training ended early; the last checkpoint is kept and a rerun goes on from it."""


def fit(task: Task, config: LoopConfig, directory: str) -> dict[str, Any]:
    """Train, and leave the model in `directory`/model. A rerun with the same directory goes on where it stopped.

    Returns:
        steps, loss (mean of the last tenth), samples_per_second (steady), resumed_from (step), losses and
        validation_losses (curves), model_of_step.

    Raises:
        ConfigError: see `check`. OSError: `directory` cannot be written. TrainingFailed: with the cause; checkpoints
            are kept.
    """
    from dermray.cluster import connect

    check(config)
    if config.mlflow:
        mlflow_client(config.mlflow)
    storage.make_directory(directory)
    storage.delete_file(storage.join(directory, HOPELESS))
    storage.write_bytes(storage.join(directory, PROGRESS), b"starting")  # an unwritable place is found now
    connect()
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    system, path = storage.filesystem(directory)
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
            checkpoint_config=CheckpointConfig(
                num_to_keep=config.keep_checkpoints,
                checkpoint_score_attribute="validation_loss" if config.keep_best else None,
                checkpoint_score_order="min",
            ),
            failure_config=FailureConfig(max_failures=config.max_failures),
        ),
    )
    try:
        with watched(text_at(progress)):
            result = trainer.fit()
    except TrainingFailedError as error:
        raise TrainingFailed(f"{directory}: {_cause(error)}; the last checkpoint is kept, run again to go on") from None
    history: dict[str, Any] = json.loads(storage.read_bytes(_inside(result.checkpoint, directory, "history.json")))
    chosen, metrics = result.checkpoint, result.metrics
    if config.keep_best:
        chosen, metrics = min(result.best_checkpoints, key=lambda kept: float(kept[1]["validation_loss"]))
    storage.copy_directory(_inside(chosen, directory, "model"), storage.join(directory, "model"))
    storage.delete_tree(storage.join(directory, "run"))
    storage.delete_file(progress)
    if config.mlflow:
        end_mlflow_run(config.mlflow, directory)
    return _report(history, config) | {"model_of_step": metrics["step"]}


def _inside(checkpoint: Any, directory: str, name: str) -> str:
    """URI of a part of a checkpoint where it lies: `as_directory` would download all of it from S3."""
    scheme = "s3://" if storage.is_s3(directory) else ""
    return storage.join(scheme + checkpoint.path, name)


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
        "validation_losses": history["validation_losses"],
    }


def _worker(settings: dict[str, Any]) -> None:
    """Runs in every worker. Ray starts workers again after any error, so one that is hopeless is noted."""
    note = storage.join(settings["directory"], HOPELESS)
    if storage.exists(note):
        raise Hopeless(storage.read_bytes(note).decode())
    try:
        _train(settings)
    except Exception as error:
        from ray import train

        if isinstance(error, Hopeless):
            storage.write_bytes(note, str(error).encode())
        with contextlib.suppress(Exception):  # the first error is the one to tell of
            train.get_all_reported_checkpoints(timeout_s=UPLOAD_SECONDS)  # the last checkpoint may be on its way still
        raise


def _train(settings: dict[str, Any]) -> None:
    from ray import train
    from ray.train.torch import get_device, prepare_model

    config, task = LoopConfig(**settings["config"]), settings["task"]
    context = train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    torch.manual_seed(config.seed)
    device = get_device()
    wrapped: Any
    if config.parallel == "fsdp":
        from dermray.train_loop.sharding import Sharded

        wrapped = Sharded(task.build, workers, device)
        module = wrapped.module
    else:
        module = task.build()
        # no family has buffers that steps change; views save a copy of all gradients
        options = {"broadcast_buffers": False, "gradient_as_bucket_view": True}
        unused = {"find_unused_parameters": task.unused_parameters}
        wrapped = prepare_model(module, parallel_strategy_kwargs=options | unused)
    state = State(module, config)
    if rank == 0:
        room_for_checkpoints(state, settings["directory"])
    checkpoint = train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            restore(state, Path(directory))
    if config.compile:
        wrapped = torch.compile(wrapped)
    log = TrainingLog(settings["directory"], config, state) if rank == 0 else None
    while state.step < config.steps:
        loss = state.advance(task, wrapped, rank, workers)
        if log is not None:
            log.step(loss)
        _look(state, task, log)
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            train.report(
                _metrics(state, loss),
                checkpoint=_saved(state, task, rank),
                checkpoint_upload_mode=train.CheckpointUploadMode.ASYNC,  # the next step waits for a local file only
            )


def _look(state: State, task: Task, log: TrainingLog | None) -> None:
    """Pictures and validation loss, when it is time. Sharded weights need every worker; else rank 0 is enough."""
    config, last = state.config, state.step == state.config.steps
    if log is None and not state.sharded:
        return
    if state.step % config.pictures_every == 0 or last:
        with state.averaged() as module:
            pictures = task.pictures(module)
        if log is not None:
            log.pictures(pictures)
    if state.step % config.checkpoint_every == 0 or last:
        with state.averaged() as module:
            loss = task.validation_loss(module)
        if log is not None and loss is not None:
            log.validation(loss)
        if log is not None:
            log.flush()


def _metrics(state: State, loss: float) -> dict[str, float]:
    """What Ray keeps beside a checkpoint."""
    metrics = {"step": state.step, "loss": loss}
    return metrics | ({"validation_loss": state.validation_losses[-1][1]} if state.validation_losses else {})


def _saved(state: State, task: Task, rank: int) -> Any:
    """This worker's part of a checkpoint, where it has one; Ray removes its directory when it has been copied.

    The last, or each that may be the best, has the model."""
    from ray.train import Checkpoint

    directory = Path(tempfile.mkdtemp())
    save(state, directory, rank)
    if state.step == state.config.steps or state.config.keep_best:
        save_model(state, task, directory / "model", rank)
    if rank == 0 or state.sharded:
        return Checkpoint.from_directory(directory)
    directory.rmdir()
    return None


def room_for_checkpoints(state: State, directory: str) -> None:
    """Before the first step: a full disk would be found hours later.

    Raises:
        Hopeless: a local disk has no room for the checkpoints that will be kept, or for the one being written.
    """
    copies = (2 if state.ema else 1) + 2  # weights, averages, two moments of the optimiser
    size = copies * sum(weight.numel() * weight.element_size() for weight in state.trained)
    kept = {} if storage.is_s3(directory) else {directory: state.config.keep_checkpoints + 1}
    for place, count in (kept | {tempfile.gettempdir(): 1}).items():
        free = shutil.disk_usage(place).free
        if count * size > free:
            raise Hopeless(
                f"{place}: {free / 1e6:.0f} MB free, but checkpoints of {size / 1e6:.0f} MB are written here, and "
                f"{count} lie here at a time; make room, or change loop.keep_checkpoints, the output or TMPDIR"
            )
