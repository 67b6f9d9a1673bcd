"""What is seen of a training while it runs."""

import json
import tempfile
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor

from dermray import storage
from dermray.bookkeeping import Notes, told
from dermray.config import ConfigError
from dermray.train_loop.optimizers import rate_of
from dermray.train_loop.settings import LoopConfig
from dermray.train_loop.state import State
from dermray.train_loop.wandb_run import KIND, WandbRun

SKIPPED_STEPS = 5  # before the clock of samples/s starts
PROGRESS = "progress.txt"
LOST = "notes_lost.json"  # at the end: what was lost, by kind
PREVIEWS = "previews"
NOISE_BINS = 4
COPIES = "copies of TensorBoard's files to S3"  # each is a whole one: the next makes up for one that failed
EXPERIMENT = "dermray"
MLFLOW_RUN = "mlflow_run.txt"  # the id of the run, beside its checkpoints


class TrainingLog:
    """A line of progress, TensorBoard in `directory`/tensorboard, MLflow and Weights & Biases where they are asked for.

    What these cannot take is lost and counted in the state, the training goes on. Losses that results are made from
    are kept in the state itself.
    """

    def __init__(self, directory: str, config: LoopConfig, state: State) -> None:
        import torch.utils.tensorboard  # noqa: F401  # now: it takes seconds, which steps would share

        self.directory, self.config, self.state = directory, config, state
        self.clock, self.clocked_from, self.skip_to = time.monotonic(), state.step, state.step + SKIPPED_STEPS
        self.target = storage.join(directory, "tensorboard")
        self.local = tempfile.mkdtemp() if storage.is_s3(directory) else self.target
        self.first = state.step + 1
        self.mlflow = _Mlflow(config.mlflow, directory, config) if config.mlflow else None
        self.wandb = WandbRun(config.wandb, directory, config) if config.wandb else None
        kinds = ["progress", "TensorBoard", PREVIEWS]
        kinds += [COPIES] if self.local != self.target else []
        kinds += ["MLflow"] if self.mlflow else []
        kinds += [KIND] if self.wandb else []
        self.notes = {kind: Notes(kind) for kind in kinds}
        self.lost_before = dict(state.notes_lost)
        self._writer: Any = None

    def writer(self) -> Any:
        """TensorBoard's; made by the first note, as its directory may be out of reach."""
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is None:
            self._writer = SummaryWriter(self.local, purge_step=self.first)
        return self._writer

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
        if lost := told(state.notes_lost):
            line += f", notes lost: {lost}"
        self.notes["progress"].later(storage.write_bytes, storage.join(self.directory, PROGRESS), line.encode())
        values = {"loss": mean, "gradient_norm": state.gradient_norm, "samples_per_second": state.samples_per_second,
                  "learning_rate": rate_of(state.optimizer)}  # fmt: skip
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

    def pictures(self, images: dict[str, Tensor], scores: Callable[[dict[str, Tensor]], dict[str, float]]) -> None:
        """Images beside the curves, and curves of what `scores` makes of them; where it cannot, that is counted."""
        self.notes["TensorBoard"].later(self._draw, images, self.state.step)
        self.notes[PREVIEWS].now(lambda: self._write(scores(images)))

    def words(self, texts: dict[str, str]) -> None:
        """Texts beside the curves, in Markdown."""
        if texts:
            self.notes["TensorBoard"].later(self._say, texts, self.state.step)

    def no_pictures(self, error: Exception) -> None:
        """They could not be drawn, or words not be said."""

        def tell() -> None:
            raise error

        self.notes[PREVIEWS].now(tell)

    def flush(self) -> None:
        """Everything so far to where it can be read, before a checkpoint from which a restart would go on."""
        self.notes["TensorBoard"].later(lambda: self.writer().flush())
        for notes in self.notes.values():
            notes.flush()
        if COPIES in self.notes:
            self.notes[COPIES].later(storage.copy_directory, self.local, self.target)
            self.notes[COPIES].flush()
        self.state.notes_lost = {kind: self.lost_before.get(kind, 0) + notes.lost for kind, notes in self.notes.items()}

    def close(self) -> None:
        """The last pictures too, and a note of all that was lost."""
        if self.wandb is not None:
            self.notes[KIND].later(self.wandb.close)
        self.flush()
        lost = json.dumps(self.state.notes_lost).encode()
        self.notes["progress"].now(storage.write_bytes, storage.join(self.directory, LOST), lost)

    def _write(self, values: dict[str, float]) -> None:
        step = self.state.step
        self.notes["TensorBoard"].later(self._plot, values, step)
        if self.mlflow is not None:
            self.notes["MLflow"].later(self.mlflow.write, values, step)
        if self.wandb is not None:
            self.notes[KIND].later(self.wandb.write, values, step)

    def _plot(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer().add_scalar(name, value, step)

    def _draw(self, images: dict[str, Tensor], step: int) -> None:
        for name, image in images.items():
            self.writer().add_image(name, image, step)

    def _say(self, texts: dict[str, str], step: int) -> None:
        for name, text in texts.items():
            self.writer().add_text(name, text, step)


class _Mlflow:
    """One MLflow run for a training, however often it was interrupted. Nothing is asked of it before the first note."""

    def __init__(self, uri: str, directory: str, config: LoopConfig) -> None:
        self.uri, self.directory, self.config = uri, directory, config
        self._run: tuple[Any, str] | None = None

    def write(self, values: dict[str, float], step: int) -> None:
        """In one request."""
        from mlflow.entities import Metric

        client, run = self._run = self._run or self._opened(mlflow_client(self.uri))
        now = int(time.time() * 1000)
        client.log_batch(run, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def _opened(self, client: Any) -> tuple[Any, str]:
        """With the id of the run that was noted, or of a new one."""
        note = storage.join(self.directory, MLFLOW_RUN)
        if storage.exists(note):
            return client, storage.read_bytes(note).decode()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
        run: str = client.create_run(number, run_name=self.directory).info.run_id
        storage.write_bytes(note, run.encode())  # first: without it the next note would make another run
        for name, value in self.config.model_dump().items():
            client.log_param(run, name, value)
        return client, run


def notes_lost(directory: str) -> dict[str, int]:
    """What `TrainingLog.close` noted; nothing where even that was lost."""
    note = storage.join(directory, LOST)
    lost: dict[str, int] = json.loads(storage.read_bytes(note)) if storage.exists(note) else {}
    return lost


def end_mlflow_run(uri: str, directory: str) -> None:
    """MLflow shows the training as finished, if it can be reached; the run's note is not needed any more."""
    note = storage.join(directory, MLFLOW_RUN)
    if storage.exists(note):
        run = storage.read_bytes(note).decode()
        Notes("MLflow: the end of the run").now(lambda: mlflow_client(uri).set_terminated(run))
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
