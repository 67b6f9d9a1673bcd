"""How a worker comes to its model: one worker of a machine after the other, and nothing frozen over the network."""

import os
import tempfile

from filelock import FileLock
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def in_turn() -> FileLock:
    """To build a model under and move it to its device: a machine's memory then holds one whole base, not one for each
    of its workers. The system lets go of it when its process ends, however that ends."""
    return FileLock(f"{tempfile.gettempdir()}/dermray-build-{os.getuid()}.lock")


def keep_frozen_apart(module: nn.Module) -> None:
    """DDP sends all of rank 0's weights to every worker when it begins. The frozen ones are read from the same files
    everywhere, 24 GB at FLUX's size, and those of eight bits cannot be sent: these DDP leaves alone."""
    frozen = [name for name, weight in module.named_parameters(remove_duplicate=False) if not weight.requires_grad]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, frozen)
