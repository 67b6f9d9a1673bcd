"""A checkpoint's directory: what training needs to go on (`state.pt`, or the shards of all workers), `history.json`,
and at the end the model."""

import json
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)

from dermray.train_loop.state import State, Task

TRAINED = StateDictOptions(ignore_frozen_params=True, strict=False)
WHOLE = StateDictOptions(ignore_frozen_params=True, full_state_dict=True, cpu_offload=True)


def save(state: State, directory: Path, rank: int) -> None:
    """This worker's files: those of all workers, side by side, are the checkpoint. Without shards it is rank 0's."""
    if state.sharded:
        state_dict_saver.save(_shards(state), storage_writer=FileSystemWriter(directory))
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
        saved = _shards(state)
        state_dict_loader.load(saved, storage_reader=FileSystemReader(directory))
        set_state_dict(
            state.module, state.optimizer, model_state_dict=saved["module"], optim_state_dict=saved["optimizer"],
            options=TRAINED,
        )  # fmt: skip
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
        trained = get_model_state_dict(module, options=WHOLE)
    if rank == 0:
        torch.manual_seed(state.config.seed)  # as it was when the workers built theirs
        whole = task.build()
        _, unexpected = whole.load_state_dict(trained, strict=False)
        assert not unexpected, unexpected
        task.save(whole, directory)


def _shards(state: State) -> dict[str, Any]:
    """Tensors that know which part of the whole they are; loading writes into them."""
    module, optimizer = get_state_dict(state.module, state.optimizer, options=TRAINED)
    return {"module": module, "optimizer": optimizer, "ema": {str(i): average for i, average in enumerate(state.ema)}}
