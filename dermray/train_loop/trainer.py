"""The loop on Ray Train: workers, checkpoints, restarts."""

import contextlib
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dermray import storage
from dermray.bookkeeping import told
from dermray.counters import count_checkpoint
from dermray.failures import plain_cause
from dermray.progress import text_at, watched
from dermray.train_loop import snapshot
from dermray.train_loop.building import in_turn, keep_frozen_apart
from dermray.train_loop.checkpoint import restore, save, save_model
from dermray.train_loop.log import LOST, PROGRESS, TrainingLog, end_mlflow_run, mlflow_client, notes_lost
from dermray.train_loop.optimizers import KEPT, doubtful
from dermray.train_loop.settings import Hopeless, LoopConfig
from dermray.train_loop.snapshot import RUN
from dermray.train_loop.state import State, Task
from dermray.train_loop.wandb_run import NOTE, require_wandb

TEMPORARY = (f"{RUN}/", PROGRESS, LOST, NOTE)  # checkpoints and notes, which only a training in progress needs
HOPELESS = "hopeless.txt"  # why: a worker that is started again reads it and stops, instead of failing the same way
UPLOAD_SECONDS = 600  # at most, that a failed worker waits for its last checkpoint; S3 takes minutes for gigabytes


class TrainingFailed(RuntimeError):
    """Training ended early; the last checkpoint is kept and a rerun goes on from it."""


def fit(task: Task, config: LoopConfig, directory: str) -> dict[str, Any]:
    """Train, and leave the model in `directory`/model. A rerun with the same directory goes on where it stopped, until
    what is TEMPORARY goes, after the manifest.

    Returns:
        steps, workers (at the end), workers_from_step ((step, workers) wherever their number changed), loss (mean of
        the last tenth), samples_per_second (steady), resumed_from (step), losses and validation_losses (curves),
        notes_lost (by kind: of progress, TensorBoard, MLflow; at least), model_of_step.

    Raises:
        OSError: `directory` cannot be written. TrainingFailed: with the cause; checkpoints
            are kept.
    """
    _prepare(config, directory)
    result = _run(_trainer(task, config, directory), directory)
    history, metrics = _keep_model(result, config, directory)
    if at_the_end := notes_lost(directory):  # of after the last checkpoint too
        history["notes_lost"] = at_the_end
    if config.mlflow:
        end_mlflow_run(config.mlflow, directory)
    if lost := told(history.get("notes_lost", {})):
        print(f"      warning: notes of this training were lost: {lost}", flush=True)
    return _report(history, config) | {"model_of_step": metrics["step"]}


def last_checkpoint(directory: str) -> dict[str, Any] | None:
    """Of a training that was interrupted: step, workers, accumulate and time (Unix seconds) of the checkpoint that the
    next start goes on from. None where there is none."""
    latest = (snapshot.read(directory) or {}).get("latest_checkpoint_result")
    return latest and latest["metrics"]


def how_far(directory: str) -> str:
    """Of an interrupted training, for people."""
    if (last := last_checkpoint(directory)) is None:
        return "no checkpoint yet"
    when = f" of {time.strftime('%Y-%m-%d %H:%M', time.localtime(last['time']))}" if "time" in last else ""
    return f"last checkpoint{when} at step {last['step']}"


def _prepare(config: LoopConfig, directory: str) -> None:
    """Whatever can go wrong before Ray is started goes wrong here; says from where a rerun goes on."""
    if config.mlflow:
        mlflow_client(config.mlflow)
    if config.wandb:
        require_wandb(config.wandb)
    storage.make_directory(directory)
    snapshot.mend(directory)
    storage.delete_file(storage.join(directory, HOPELESS))
    storage.write_bytes(storage.join(directory, PROGRESS), b"starting")  # an unwritable place is found now
    if doubt := doubtful(config.optimizer, config.learning_rate):
        print(f"      warning: {doubt}", flush=True)
    if (last := last_checkpoint(directory)) is not None:
        print(f"      {directory}: {_going_on(last, config)}", flush=True)


def _going_on(last: dict[str, Any], config: LoopConfig) -> str:
    """From which step, and what that means where other workers go on than began."""
    line = f"going on from step {last['step']} of {config.steps}"
    least, most = config.least_and_most
    then = last.get("workers", least), last.get("accumulate", config.accumulate)  # not in older checkpoints
    if least <= then[0] <= most and then[1] == config.accumulate:
        return line
    number = f"{least}" if least == most else f"{least} to {most}"
    now, before = _shares(number, config.accumulate), _shares(str(then[0]), then[1])
    return (
        f"{line} with {now} instead of {before}; steps, batch size and schedule stay the same, but each worker draws "
        "random numbers of its own and sums are rounded in another order: the weights will not be those of an "
        "uninterrupted training bit for bit"
    )


def _shares(workers: str, accumulate: int) -> str:
    """By how many a batch is shared, and in how many parts each computes its share."""
    return f"{workers} {'worker' if workers == '1' else 'workers'}" + (
        f" x {accumulate} parts" if accumulate > 1 else ""
    )


def _trainer(task: Task, config: LoopConfig, directory: str) -> Any:
    """Ray's trainer, which goes on from the checkpoints below `directory`/run if there are any."""
    from dermray.cluster import connect

    connect(directory)
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from dermray.train_loop.listed import Keeping

    system, path = storage.filesystem(directory)
    gpu = config.gpus_per_worker > 0
    resources = {"CPU": config.cpus_per_worker} | ({"GPU": config.gpus_per_worker} if gpu else {})
    return TorchTrainer(
        _worker,
        train_loop_config={"task": task, "config": config.model_dump(), "directory": directory},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=config.workers, use_gpu=gpu, resources_per_worker=resources),
        run_config=RunConfig(
            name=RUN,
            storage_path=path,
            storage_filesystem=system,
            checkpoint_config=CheckpointConfig(
                num_to_keep=config.keep_checkpoints,
                checkpoint_score_attribute="validation_loss" if config.keep_best else None,
                checkpoint_score_order="min",
            ),
            failure_config=FailureConfig(max_failures=config.max_failures),
            callbacks=[Keeping(directory)],
        ),
    )


def _run(trainer: Any, directory: str) -> Any:
    """Ray's result.

    Raises:
        TrainingFailed: with the cause.
    """
    from ray.exceptions import RayActorError
    from ray.train.v2.api.exceptions import TrainingFailedError

    try:
        with watched(text_at(storage.join(directory, PROGRESS))), _interrupts_kept():
            return trainer.fit()
    except TrainingFailedError as error:
        why = _cause(error)
    except RayActorError:  # Ray Train starts workers again, but not its own actor, which runs on the driver's node
        why = "training stopped: Ray Train's controller died"
    raise TrainingFailed(f"{directory}: {why}; the last checkpoint is kept, run again to go on")


@contextlib.contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Ray Train leaves its own way of taking Ctrl-C behind, which hears it the third time only: what was before comes
    back."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)  # None: it was not Python's


def _keep_model(result: Any, config: LoopConfig, directory: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model out of its checkpoint; the history of the whole training, and the metrics of that checkpoint."""
    history: dict[str, Any] = json.loads(storage.read_bytes(_inside(result.checkpoint, directory, "history.json")))
    chosen, metrics = result.checkpoint, result.metrics
    if config.keep_best:
        chosen, metrics = min(result.best_checkpoints, key=lambda kept: float(kept[1]["validation_loss"]))
    storage.copy_directory(_inside(chosen, directory, "model"), storage.join(directory, "model"))
    return history, metrics


def _inside(checkpoint: Any, directory: str, name: str) -> str:
    """URI of a part of a checkpoint where it lies: `as_directory` would download all of it from S3."""
    scheme = "s3://" if storage.is_s3(directory) else ""
    return storage.join(scheme + checkpoint.path, name)


def _cause(error: Exception) -> str:
    """The workers' own words, without Ray's frames around them; a defect's frames are printed."""
    cause = plain_cause(error)
    if cause.trace and not cause.mendable:
        print(cause.trace, file=sys.stderr)
    return f"training stopped: {cause}"


def _report(history: dict[str, Any], config: LoopConfig) -> dict[str, Any]:
    losses = history["losses"]
    tail = [loss for _, loss in losses[-max(1, len(losses) // 10) :]]
    return {
        "steps": config.steps,
        "workers": history["workers"],
        "workers_from_step": history["workers_from_step"],
        "loss": sum(tail) / len(tail),
        "samples_per_second": history["samples_per_second"],
        "resumed_from": history["resumed_from"],
        "losses": losses,
        "validation_losses": history["validation_losses"],
        "notes_lost": history.get("notes_lost", {}),  # not in older checkpoints
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

        wrapped = Sharded(lambda: _built(task), workers, device)
        module = wrapped.module
    else:
        with in_turn():
            module = _built(task).to(device)
        keep_frozen_apart(module)
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
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            _validate(state, task, log)
            train.report(
                _metrics(state, loss),
                checkpoint=_saved(state, task, rank),
                checkpoint_upload_mode=train.CheckpointUploadMode.ASYNC,  # the next step waits for a local file only
                checkpoint_upload_fn=partial(
                    _uploaded, settings["directory"], context.get_storage().storage_filesystem
                ),
            )
            if rank == 0:
                count_checkpoint()
        if state.step % config.pictures_every == 0 or state.step == config.steps:
            _preview(state, task, log)  # after the checkpoint of the same step: what goes wrong here costs nothing
    if log is not None:
        log.close()


def _built(task: Task) -> torch.nn.Module:
    """The task's module in training mode, in which weights that libraries have read are not: without it, dropout would
    begin with the first preview, and not again after a restart.

    Raises:
        Hopeless: its settings do not go together, such as an adapter and its base: no other start mends that.
    """
    try:
        return task.build().train()
    except ValueError as error:
        raise Hopeless(str(error)) from error


def _validate(state: State, task: Task, log: TrainingLog | None) -> None:
    """The loss on what is not trained on. Sharded weights need every worker; else rank 0 is enough."""
    if log is None and not state.sharded:
        return
    with state.averaged() as module:
        loss = task.validation_loss(module)
    if log is not None:
        if loss is not None:
            log.validation(loss)
        log.flush()


def _preview(state: State, task: Task, log: TrainingLog | None) -> None:
    """Pictures to look at and words to read; where they cannot be made, that is counted and the training goes on."""
    if log is None and not state.sharded:
        return
    try:
        with state.averaged() as module:
            pictures, words = task.pictures(module), task.words(module)
    except Exception as error:  # a preview may take more memory than a step, and no training is worth less than it
        if log is not None:
            log.no_pictures(error)
        return
    if log is not None:
        log.pictures(pictures, task.scores)
        log.words(words)


def _metrics(state: State, loss: float) -> dict[str, float]:
    """What Ray keeps beside a checkpoint."""
    metrics = {"step": state.step, "loss": loss, "workers": state.workers, "accumulate": state.config.accumulate,
               "time": time.time()}  # fmt: skip
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


def _uploaded(directory: str, system: Any, checkpoint: Any, name: str) -> Any:
    """This worker's part of a checkpoint where Ray would have it. Ray's own copying is pyarrow's, which says nothing
    where S3 refuses a file: see s3_transfers.py.

    Args:
        system: Ray's file system for `directory`: it asks whether the checkpoint has the very same.
    """
    from ray.train import Checkpoint

    target = storage.join(directory, RUN, name)
    storage.copy_directory(checkpoint.path, target)
    return Checkpoint(storage.filesystem(target)[1], filesystem=system)


def room_for_checkpoints(state: State, directory: str) -> None:
    """Before the first step: a full disk would be found hours later.

    Raises:
        Hopeless: a local disk has no room for the checkpoints that will be kept, or for the one being written.
    """
    copies = (2 if state.ema else 1) + KEPT[state.config.optimizer]  # weights, averages, the optimiser's
    size = copies * sum(weight.numel() * weight.element_size() for weight in state.trained)
    kept = {} if storage.is_s3(directory) else {directory: state.config.keep_checkpoints + 1}
    for place, count in (kept | {tempfile.gettempdir(): 1}).items():
        free = shutil.disk_usage(place).free
        if count * size > free:
            raise Hopeless(
                f"{place}: {free / 1e6:.0f} MB free, but checkpoints of {size / 1e6:.0f} MB are written here, and "
                f"{count} lie here at a time; make room, or change loop.keep_checkpoints, the output or TMPDIR"
            )
