"""What is seen of a training while it runs."""

import tempfile
import time
from typing import Any

from torch import Tensor

from dermray import storage
from dermray.config import ConfigError
from dermray.train_loop.settings import LoopConfig, learning_rate
from dermray.train_loop.state import State

SKIPPED_STEPS = 5  # before the clock of samples/s starts
PROGRESS = "progress.txt"
NOISE_BINS = 4
EXPERIMENT = "dermray"
MLFLOW_RUN = "mlflow_run.txt"  # the id of the run, beside its checkpoints


class TrainingLog:
    """A line of progress, TensorBoard in `directory`/tensorboard, and MLflow where it is configured."""

    def __init__(self, directory: str, config: LoopConfig, state: State) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.directory, self.config, self.state = directory, config, state
        self.clock, self.clocked_from, self.skip_to = time.monotonic(), state.step, state.step + SKIPPED_STEPS
        self.target = storage.join(directory, "tensorboard")
        self.local = tempfile.mkdtemp() if storage.is_s3(directory) else self.target
        self.writer = SummaryWriter(self.local, purge_step=state.step + 1)
        self.mlflow = _Mlflow(config.mlflow, directory, config) if config.mlflow else None

    def step(self, loss: float) -> None:
        """Keep the loss; every `log_every` steps write the mean since the last time."""
        state = self.state
        state.recent.append(loss)
        if state.step == self.skip_to:
            self.clock, self.clocked_from = time.monotonic(), state.step
        elif state.step > self.clocked_from:
            done = state.step - self.clocked_from
            state.samples_per_second = done * self.config.batch_size / (time.monotonic() - self.clock)
        if state.step % self.config.log_every and state.step != self.config.steps:
            return
        mean = sum(state.recent) / len(state.recent)
        state.losses.append((state.step, mean))
        state.recent = []
        left = (self.config.steps - state.step) * self.config.batch_size / max(state.samples_per_second, 1e-9)
        speed = f"{state.samples_per_second:.0f} samples/s, {left:.0f} s left"
        line = f"step {state.step} of {self.config.steps}, loss {mean:.4f}, {speed}"
        storage.write_bytes(storage.join(self.directory, PROGRESS), line.encode())
        values = {"loss": mean, "gradient_norm": state.gradient_norm, "samples_per_second": state.samples_per_second,
                  "learning_rate": learning_rate(state.step - 1, self.config)}  # fmt: skip
        curves = {f"train/{name}": value for name, value in values.items()}
        for low in range(NOISE_BINS):
            found = [loss for level, loss in state.by_noise if min(int(level * NOISE_BINS), NOISE_BINS - 1) == low]
            if found:
                name = f"loss_by_noise/{low / NOISE_BINS:.2f} to {(low + 1) / NOISE_BINS:.2f}"
                curves[name] = sum(found) / len(found)
        state.by_noise = []
        self._write(curves)

    def validation(self, loss: float) -> None:
        """The loss on what is not trained on."""
        self.state.validation_losses.append((self.state.step, loss))
        self._write({"validation/loss": loss})

    def pictures(self, images: dict[str, Tensor]) -> None:
        """Images beside the curves."""
        for name, image in images.items():
            self.writer.add_image(name, image, self.state.step)

    def _write(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, self.state.step)
        if self.mlflow is not None:
            self.mlflow.write(values, self.state.step)

    def flush(self) -> None:
        """Everything so far to where it can be read."""
        self.writer.flush()
        if self.local != self.target:
            storage.copy_directory(self.local, self.target)


class _Mlflow:
    """One MLflow run for a training, however often it was interrupted."""

    def __init__(self, uri: str, directory: str, config: LoopConfig) -> None:
        client, note = mlflow_client(uri), storage.join(directory, MLFLOW_RUN)
        self.client = client
        if storage.exists(note):
            self.run: str = storage.read_bytes(note).decode()
            return
        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
        self.run = client.create_run(number, run_name=directory).info.run_id
        for name, value in config.model_dump().items():
            client.log_param(self.run, name, value)
        storage.write_bytes(note, self.run.encode())

    def write(self, values: dict[str, float], step: int) -> None:
        """In one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run, metrics=[Metric(name, value, now, step) for name, value in values.items()])


def end_mlflow_run(uri: str, directory: str) -> None:
    """MLflow shows the training as finished; its note is not needed any more."""
    note = storage.join(directory, MLFLOW_RUN)
    if storage.exists(note):
        mlflow_client(uri).set_terminated(storage.read_bytes(note).decode())
        storage.delete_file(note)


def mlflow_client(uri: str) -> Any:
    """A client of the tracking server or directory.

    Raises:
        ConfigError: mlflow is not installed.
    """
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise ConfigError(f"loop.mlflow={uri}: needs MLflow: pip install 'dermray[mlflow]'") from None
    return MlflowClient(tracking_uri=uri)
