"""FSDP2: every worker keeps a part of the weights, their averages and the optimiser, for models that fit on none.

What has trained weights is sharded, block by block: a block's weights are put together when it is computed and dropped
afterwards. Frozen encoders beside it stay whole, as they are called outside of the loss too. Workers on one machine
build their model one after the other: its memory holds one whole model and the parts, not a whole model for each.

Imported only where weights are sharded: it takes a second.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from dermray.train_loop.building import in_turn
from dermray.train_loop.settings import Hopeless
from dermray.train_loop.state import State

TRAINED = StateDictOptions(ignore_frozen_params=True, strict=False)
WHOLE = StateDictOptions(ignore_frozen_params=True, full_state_dict=True, cpu_offload=True)


class Sharded:
    """A module whose trained parts are sharded over all workers; called as DDP is. Every worker has to make one.

    Raises:
        Hopeless: a trained weight lies in no child that has a forward of its own.
    """

    def __init__(self, build: Callable[[], nn.Module], workers: int, device: torch.device) -> None:
        mesh = init_device_mesh(device.type, (workers,))
        with in_turn():
            self.module = _shard(build(), mesh).to(device)  # which moves the frozen rest

    def __call__(self, *arguments: Any) -> Any:
        """The module's loss."""
        return self.module(*arguments)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients are kept by each worker until the last part of a batch."""
        roots = [part for part in self.module.children() if isinstance(part, FSDPModule)]
        for root in roots:
            root.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            for root in roots:
                root.set_requires_gradient_sync(True)


def _shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Its trained parts, block by block. Asks no other worker for anything."""
    parts = [part for part in module.children() if not isinstance(part, nn.ModuleList) and _is_trained(part)]
    inside = {p for part in parts for p in part.parameters()}
    outside = [name for name, p in module.named_parameters() if p.requires_grad and p not in inside]
    if outside:
        raise Hopeless(f"loop.parallel=fsdp: {outside[0]} is in no part that can be sharded; use loop.parallel=ddp")
    for part in parts:
        for block in blocks(part):
            fully_shard(block, mesh=mesh)
        fully_shard(part, mesh=mesh)
    return module


def _is_trained(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost lists of modules."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (block for block in child if any(True for _ in block.parameters()))
        else:
            yield from blocks(child)


def save(state: State, directory: Path) -> None:
    """This worker's shards. Every worker has to call it."""
    state_dict_saver.save(_shards(state), storage_writer=FileSystemWriter(directory))


def restore(state: State, directory: Path) -> None:
    """What `save` wrote, on any number of workers."""
    saved = _shards(state)
    state_dict_loader.load(saved, storage_reader=FileSystemReader(directory))
    set_state_dict(
        state.module, state.optimizer, model_state_dict=saved["module"], optim_state_dict=saved["optimizer"],
        options=TRAINED,
    )  # fmt: skip


def trained_weights(module: nn.Module) -> dict[str, Any]:
    """All that is trained, put together on rank 0. Every worker has to call it."""
    return get_model_state_dict(module, options=WHOLE)


def _shards(state: State) -> dict[str, Any]:
    """Tensors that know which part of the whole they are; loading writes into them."""
    module, optimizer = get_state_dict(state.module, state.optimizer, options=TRAINED)
    return {"module": module, "optimizer": optimizer, "ema": {str(i): average for i, average in enumerate(state.ema)}}
