"""Whether a training fits on the cluster's GPUs, found out before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dermray.config import ConfigError
from dermray.gpus import gpu_memories
from dermray.training.settings import TrainConfig

if TYPE_CHECKING:
    from dermray.training.forecast import Forecast


def require_room(config: TrainConfig) -> None:
    """Compare the forecast with the cluster's GPUs. Does nothing where workers have none, or no GPU is known yet.

    Raises:
        ConfigError: even the largest GPU is too small.
    """
    if not config.loop.gpus_per_worker or not config.check_memory:
        return
    memories = gpu_memories()
    if not memories or (bill := _forecast(config)) is None:
        return
    from dermray.training.bill import too_small

    if bill.gpu > max(memories):
        raise ConfigError(f"{too_small(bill, 'the largest of the cluster', max(memories))}; check_memory=false tries")
    if bill.gpu > min(memories):
        print(f"      warning: {too_small(bill, 'the smallest of the cluster', min(memories))}", flush=True)


def _forecast(config: TrainConfig) -> Forecast | None:
    """None where there is none: a training needs no forecast to be good."""
    from dermray.training.forecast import CAPTION, of_captions  # every family's networks: seconds to import

    try:
        return of_captions(config, [CAPTION])
    except Exception as error:
        print(f"      warning: no forecast of the GPU memory ({type(error).__name__}: {error})", flush=True)
        return None
