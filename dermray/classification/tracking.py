"""MLflow and Weights & Biases over a sweep's trials, by Ray's own callbacks. What they cannot take is lost and counted:
a tracking server that is away costs no trial. Imports Ray Tune.
"""

import sys
from typing import Any

from ray.tune.logger import LoggerCallback

from dermray.bookkeeping import Notes, told

EXPERIMENT = "dermray"
PATIENCE = 300.0  # seconds at the end of a sweep: W&B starts a process for each trial, some seconds on a busy machine


def trackers(mlflow: str | None, wandb: str | None, group: str) -> list[LoggerCallback]:
    """Those that are asked for.

    Args:
        mlflow: tracking URI. wandb: project. group: of the trials of one sweep.
    """
    found: list[LoggerCallback] = []
    if mlflow:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        told = MLflowLoggerCallback(tracking_uri=mlflow, experiment_name=EXPERIMENT, tags={"sweep": group})
        found.append(BestEffort("MLflow", told))
    if wandb:
        from ray.air.integrations.wandb import WandbLoggerCallback

        found.append(BestEffort("Weights & Biases", WandbLoggerCallback(project=wandb, group=group)))
    return found


class BestEffort(LoggerCallback):
    """Hands on to another callback, in a thread of its own, whatever becomes of it."""

    def __init__(self, kind: str, callback: Any) -> None:
        self.notes, self.callback = Notes(kind), callback

    def setup(self, *arguments: Any, **options: Any) -> None:
        """Once, before the first trial."""
        self.notes.later(lambda: self.callback.setup(*arguments, **options))

    def log_trial_start(self, trial: Any) -> None:
        """A trial begins."""
        self.notes.later(self.callback.log_trial_start, trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """It has reported."""
        self.notes.later(self.callback.log_trial_result, iteration, trial, dict(result))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """It has ended."""
        self.notes.later(self.callback.log_trial_end, trial, failed)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """All have."""
        self.notes.later(lambda: self.callback.on_experiment_end(trials, **info))
        self.notes.flush(PATIENCE)
        if self.notes.lost:
            print(f"dermray: warning: notes of this sweep are lost: {told({self.notes.kind: self.notes.lost})}",
                  file=sys.stderr)  # fmt: skip
