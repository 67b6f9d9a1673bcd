"""Weights & Biases over a training: one run, however often it was interrupted."""

import importlib.util
import os
import secrets
import time
from typing import Any

from dermray import storage
from dermray.config import ConfigError
from dermray.train_loop.settings import LoopConfig

NOTE = "wandb_run.txt"  # the id of the run, beside its checkpoints
KIND = "Weights & Biases"
AGAIN = 600.0  # seconds between tries to begin a run: each that fails takes wandb 90


def require_wandb(project: str) -> None:
    """Raises:
    ConfigError: wandb is not installed.
    """
    if importlib.util.find_spec("wandb") is None:
        raise ConfigError(f"loop.wandb={project}: needs Weights & Biases: pip install 'dermray[wandb]'")


class WandbRun:
    """Nothing is asked of the server before the first note. Each call may raise, or take as long as wandb waits.

    Args:
        project: of Weights & Biases. The key, the mode and the server are wandb's own: WANDB_API_KEY, WANDB_MODE
            (offline writes files for `wandb sync`), WANDB_BASE_URL. directory: the training's, in which offline files
            lie too, unless it is in S3 or WANDB_DIR says another.
    """

    def __init__(self, project: str, directory: str, config: LoopConfig) -> None:
        self.project, self.directory, self.config = project, directory, config
        self._run: Any = None
        self._next_try = 0.0

    def write(self, values: dict[str, float], step: int) -> None:
        """Curves over `step`. wandb's own counter only goes up: it would leave out what is done again after a crash."""
        if self._run is None and time.monotonic() < self._next_try:
            raise ConnectionError(f"no run was begun; tried again every {AGAIN:.0f} s")
        self._next_try = time.monotonic() + AGAIN
        self._run = self._run or self._opened()
        self._run.log({"step": step, **values})

    def close(self) -> None:
        """All is sent, or written for `wandb sync`; a training that is not done goes on in the same run."""
        if self._run is not None:
            self._run.finish()

    def _opened(self) -> Any:
        import wandb

        note = storage.join(self.directory, NOTE)
        known = storage.exists(note)
        number = storage.read_bytes(note).decode() if known else secrets.token_hex(4)
        if not known:
            storage.write_bytes(note, number.encode())  # first: without it the next start would make another run
        place = None if storage.is_s3(self.directory) or "WANDB_DIR" in os.environ else self.directory
        run = wandb.init(
            project=self.project, id=number, resume="allow", name=self.directory, dir=place,
            config=self.config.model_dump(), settings=wandb.Settings(console="off", silent=True),
        )  # fmt: skip
        run.define_metric("*", step_metric="step")
        return run
