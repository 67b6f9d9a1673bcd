"""Ray's list of checkpoints is kept each time that Ray has written it. Apart from snapshot.py, which needs no Ray."""

from typing import Any

from ray.train import UserCallback

from dermray.train_loop import snapshot


class Keeping(UserCallback):
    """Called by Ray's controller, after its own manager of checkpoints."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """A list with this checkpoint in it is there."""
        if checkpoint is not None:
            snapshot.keep(self.directory)
