"""The training log where its places fail: the training goes on, results keep every loss, the rest is counted."""

import shutil
import time
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch

from dermray import storage
from dermray.bookkeeping import Notes
from dermray.train_loop import State
from dermray.train_loop import trainer as trainer_module
from dermray.train_loop.log import COPIES, PROGRESS, TrainingLog, end_mlflow_run, mlflow_client
from dermray.train_loop.trainer import _preview, _validate
from tests.conftest import free_port
from tests.training.test_train_loop import CONFIG, Line, LineTask

LOSSES = [(step, float(step)) for step in range(5, 41, 5)]
ALONE = CONFIG.model_copy(update={"workers": 1, "batch_size": 8})


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """For busy machines."""
    monkeypatch.setattr(Notes, "flush", partialmethod(Notes.flush, 100.0))


def look(state: State, task: LineTask, log: TrainingLog) -> None:
    """As `_train` does beside its checkpoints."""
    if state.step % state.config.checkpoint_every == 0:
        _validate(state, task, log)
    if state.step == state.config.steps:
        _preview(state, task, log)


def train(directory: Path | str, break_at: Any = None, config: Any = ALONE) -> State:
    """Forty steps as `_train` logs them; before step 21 `break_at` is called."""
    state, task = State(Line(), config), LineTask()
    log = TrainingLog(str(directory), config, state)
    while state.step < config.steps:
        if state.step == 20 and break_at:
            break_at()
        state.step += 1
        task.step = state.step
        log.step(float(-(-state.step // 5) * 5))
        look(state, task, log)
    log.close()
    return state


def curve(directory: Path, name: str = "train/loss") -> list[int]:
    """Steps of a curve in a directory of TensorBoard's."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory))
    events.Reload()
    return [event.step for event in events.Scalars(name)] if name in events.Tags()["scalars"] else []


def test_a_log_that_works(tmp_path: Path) -> None:
    state = train(tmp_path)
    assert state.losses == LOSSES and state.notes_lost == {"progress": 0, "TensorBoard": 0, "previews": 0}
    assert (tmp_path / PROGRESS).read_text().startswith("step 40 of 40, loss 40.0000")
    assert (
        curve(tmp_path / "tensorboard") == curve(tmp_path / "tensorboard", "validation/loss") == list(range(5, 41, 5))
    )


def test_progress_that_cannot_be_written_is_lost_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = storage.write_bytes

    def fails(uri: str, data: bytes) -> None:
        if uri.endswith(PROGRESS):
            raise OSError("no space left on device")
        write(uri, data)

    monkeypatch.setattr(storage, "write_bytes", fails)
    state = train(tmp_path)
    assert state.losses == LOSSES and state.notes_lost == {"progress": 8, "TensorBoard": 0, "previews": 0}
    assert curve(tmp_path / "tensorboard") == list(range(5, 41, 5))
    assert capsys.readouterr().err.count("warning") == 1


def test_s3_that_fails_sometimes_costs_the_notes_of_those_times(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it works again the line says what was lost, and the curves are complete: they are copied whole."""
    copy, write, broken = storage.copy_directory, storage.write_bytes, [False]

    def flaky(function: Any) -> Any:
        def called(*arguments: Any) -> None:
            if broken[0]:
                raise OSError("503 Slow Down")
            function(*arguments)

        return called

    monkeypatch.setattr(storage, "write_bytes", flaky(write))
    monkeypatch.setattr(storage, "copy_directory", flaky(copy))
    state, task = State(Line(), ALONE), LineTask()
    log = TrainingLog(bucket, ALONE, state)
    for step in range(1, 41):
        broken[0] = 11 <= step <= 24
        state.step = task.step = step
        log.step(1.0)
        look(state, task, log)
        for notes in log.notes.values():  # here no step takes any time
            while notes.waiting:
                time.sleep(0.001)
    assert [step for step, _ in state.losses] == list(range(5, 41, 5))
    assert state.notes_lost == {"progress": 2, "TensorBoard": 0, "previews": 0, COPIES: 2}, "of steps 15 and 20"
    assert storage.read_bytes(f"{bucket}/{PROGRESS}").decode().endswith(f"lost: 2 for progress, 2 for {COPIES}")
    copy(f"{bucket}/tensorboard", str(tmp_path))
    assert curve(tmp_path) == list(range(5, 41, 5)), "in S3"


def test_pictures_that_cannot_be_scored_are_shown_all_the_same(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for judge, lost in ((20.0, 0), (None, 1)):
        directory, state, task = tmp_path / str(judge), State(Line(), ALONE), LineTask(judge=judge)
        log = TrainingLog(str(directory), ALONE, state)
        state.step = 40
        _preview(state, task, log)
        log.close()
        assert state.notes_lost == {"progress": 0, "TensorBoard": 0, "previews": lost}
        assert curve(directory / "tensorboard", "score/line") == [40] * (1 - lost)
        events = EventAccumulator(str(directory / "tensorboard"))
        events.Reload()
        assert events.Tags()["images"] == ["line"]


def test_mlflow_that_goes_away_in_mid_run(tmp_path: Path) -> None:
    uri, store = f"file:{tmp_path}/mlflow", tmp_path / "mlflow"
    config = ALONE.model_copy(update={"mlflow": uri})

    def goes_away() -> None:
        shutil.move(store, tmp_path / "kept")
        store.write_text("no directory")

    state = train(tmp_path / "run", goes_away, config)
    assert state.losses == LOSSES
    assert state.notes_lost == {"progress": 0, "TensorBoard": 0, "previews": 0, "MLflow": 9}, "of steps 25 to 40"
    end_mlflow_run(uri, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "mlflow_run.txt").exists()
    store.unlink()
    shutil.move(tmp_path / "kept", store)
    client = mlflow_client(uri)
    [run] = client.search_runs([client.get_experiment_by_name("dermray").experiment_id])
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")] == [5, 10, 15, 20]
    assert run.data.params["steps"] == "40"


def test_mlflow_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    state = train(tmp_path, config=ALONE.model_copy(update={"mlflow": f"http://127.0.0.1:{free_port()}"}))
    assert state.losses == LOSSES and state.notes_lost == {"progress": 0, "TensorBoard": 0, "previews": 0, "MLflow": 17}
    assert capsys.readouterr().err.count("a note for MLflow is lost") == 1
    lost: dict[str, Any] = trainer_module._report(state.history(), ALONE)["notes_lost"]
    assert lost["MLflow"] == 17, "the manifest says so"


def test_a_parameter_that_mlflow_refuses_makes_no_second_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    uri, log_param = f"file:{tmp_path}/mlflow", MlflowClient.log_param

    def refuses(self: Any, run: str, name: str, value: Any) -> None:
        if name == "steps":
            raise ValueError("too long")
        log_param(self, run, name, value)

    monkeypatch.setattr(MlflowClient, "log_param", refuses)
    state = train(tmp_path / "run", config=ALONE.model_copy(update={"mlflow": uri}))
    assert state.notes_lost["MLflow"] == 1, "the first, with which the parameters went"
    client = mlflow_client(uri)
    [run] = client.search_runs([client.get_experiment_by_name("dermray").experiment_id])
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")] == list(range(10, 41, 5))


def test_a_restart_adds_to_what_was_lost_before(tmp_path: Path) -> None:
    before = State(Line(), ALONE)
    before.notes_lost = {"progress": 3}
    after = State(Line(), ALONE)
    after.go_on(before.history() | {"step": 39})
    log = TrainingLog(str(tmp_path), ALONE, after)
    log.notes["progress"].now(torch.load, "no such file")
    log.flush()
    assert after.notes_lost == {"progress": 4, "TensorBoard": 0, "previews": 0}
    old = {name: value for name, value in before.history().items() if name != "notes_lost"}
    after.go_on(old)
    assert after.notes_lost == {}
