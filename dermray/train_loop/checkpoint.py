"""A checkpoint's directory: what training needs to go on (`state.pt`, or the shards of all workers), `history.json`,
and at the end the model."""

import json
from pathlib import Path
from typing import Any

import torch

from dermray.train_loop.state import State, Task


def save(state: State, directory: Path, rank: int) -> None:
    """This worker's files: those of all workers, side by side, are the checkpoint. Without shards it is rank 0's."""
    if state.sharded:
        from dermray.train_loop import sharding

        sharding.save(state, directory)
    elif rank == 0:
        module = {name: value for name, value in state.module.state_dict().items() if name in state.kept}
        saved = {"step": state.step, "module": module, "ema": state.ema, "optimizer": state.optimizer.state_dict()}
        torch.save(saved | {"scaler": state.scaler.state_dict()}, directory / "state.pt")
    if rank == 0:
        (directory / "history.json").write_text(json.dumps(state.history()))


def restore(state: State, directory: Path) -> None:
    """What `save` wrote, on any number of workers."""
    history: dict[str, Any] = json.loads((directory / "history.json").read_text())
    state.go_on(history)
    if state.sharded:
        from dermray.train_loop import sharding

        sharding.restore(state, directory)
        return
    found = torch.load(directory / "state.pt", map_location=state.trained[0].device, weights_only=True)
    missing, unexpected = state.module.load_state_dict(found["module"], strict=False)
    saved_names = state.kept & state.module.state_dict().keys()
    assert not unexpected and saved_names.isdisjoint(missing), (missing, unexpected)
    state.optimizer.load_state_dict(found["optimizer"])
    state.scaler.load_state_dict(found["scaler"])
    state.ema = found["ema"]


def save_model(state: State, task: Task, directory: Path, rank: int) -> None:
    """The model with its averaged weights, by rank 0. Every worker has to call it."""
    with state.averaged() as module:
        if not state.sharded:
            if rank == 0:
                task.save(module, directory)
            return
        from dermray.train_loop import sharding

        trained = sharding.trained_weights(module)
    if rank == 0:
        torch.manual_seed(state.config.seed)  # as it was when the workers built theirs
        whole = task.build()
        _, unexpected = whole.load_state_dict(trained, strict=False)
        assert not unexpected, unexpected
        task.save(whole, directory)
