"""FSDP2: every worker keeps a part of the weights, their averages and the optimiser, for models that fit on none.

What has trained weights is sharded, block by block: a block's weights are put together when it is computed and dropped
afterwards. Frozen encoders beside it stay whole, as they are called outside of the loss too.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from dermray.train_loop.settings import Hopeless


class Sharded:
    """A module whose trained parts are sharded over all workers; called as DDP is.

    Raises:
        Hopeless: a trained weight lies in no child that has a forward of its own.
    """

    def __init__(self, module: nn.Module, workers: int, device: torch.device) -> None:
        parts = [part for part in module.children() if not isinstance(part, nn.ModuleList) and _is_trained(part)]
        inside = {p for part in parts for p in part.parameters()}
        outside = [name for name, p in module.named_parameters() if p.requires_grad and p not in inside]
        if outside:
            raise Hopeless(f"loop.parallel=fsdp: {outside[0]} is in no part that can be sharded; use loop.parallel=ddp")
        mesh = init_device_mesh(device.type, (workers,))
        for part in parts:
            for block in _blocks(part):
                fully_shard(block, mesh=mesh)
            fully_shard(part, mesh=mesh)
        self.module = module.to(device)  # which moves the rest

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


def _is_trained(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost lists of modules."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (block for block in child if any(True for _ in block.parameters()))
        else:
            yield from _blocks(child)


def local(tensor: Tensor) -> Tensor:
    """This worker's part of a tensor, or the whole of one that is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """All of a tensor. Every worker has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
