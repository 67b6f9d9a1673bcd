"""The processes that train one classifier together: those that torch.distributed knows, or this one alone."""

from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def size() -> int:
    """How many they are."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """This one's number, from 0."""
    return distributed.get_rank() if size() > 1 else 0


def shared(model: nn.Module) -> nn.Module:
    """A model whose gradients are averaged over all."""
    return DistributedDataParallel(model) if size() > 1 else model


def total(values: Tensor) -> Tensor:
    """The sum over all."""
    if size() > 1:
        summed = values.clone()
        distributed.all_reduce(summed)
        return summed
    return values


def mean(values: Tensor) -> Tensor:
    """The mean over all."""
    return total(values) / size()


def require_shares(batch_size: int, workers: int) -> None:
    """Refuse a batch that cannot be shared out evenly.

    Raises:
        ValueError: it cannot.
    """
    if batch_size % workers or batch_size // workers < 2:
        raise ValueError(
            f"batch_size={batch_size}: expected a multiple of {workers} workers, at least two images each; "
            f"take {max(2, -(-batch_size // workers)) * workers}"
        )
