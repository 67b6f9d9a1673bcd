"""One Ray Train loop for every model that is trained with gradients over several workers.

A `Task` says what is trained and on what; the loop does the rest: DDP, precision, accumulation, schedule, EMA,
checkpoints, resume. All randomness of a step is seeded by (seed, step, rank) and the learning rate is a function of the
step, so a checkpoint of trained weights, their averages, optimiser and loss scale is enough for a resumed training to
equal an uninterrupted one bit for bit. Frozen weights are in no checkpoint: the task builds them again.
"""

from dermray.train_loop.settings import LoopConfig, learning_rate
from dermray.train_loop.state import State, Task, ema_update
from dermray.train_loop.trainer import TEMPORARY, TrainingFailed, fit, how_far

__all__ = [
    "TEMPORARY", "LoopConfig", "State", "Task", "TrainingFailed", "ema_update", "fit", "how_far", "learning_rate",
]  # fmt: skip
