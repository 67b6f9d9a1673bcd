"""Weights & Biases beside TensorBoard: the same curves offline, and a training that goes on without it."""

import importlib.util
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from dermray.config import ConfigError
from dermray.train_loop import LoopConfig
from dermray.train_loop.trainer import _prepare
from dermray.train_loop.wandb_run import NOTE
from tests.conftest import free_port
from tests.training.test_log import ALONE, LOSSES, curve, train

BLOCK = 32768  # of wandb's file, a log of LevelDB's kind behind seven bytes of its own
OURS = ALONE.model_copy(update={"wandb": "dermray-tests"})


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No account of whoever runs the tests is used."""
    for name in ("WANDB_API_KEY", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    yield
    wandb.teardown()


def records(file: Path) -> Iterator[Record]:
    data, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a record in one piece, or the last piece of one
            yield Record.FromString(whole)
            whole = b""


def offline(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Curves in the files of all starts of a run."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(directory.glob("wandb/offline-run-*/*.wandb")):
        for record in records(file):
            items = {item.key or item.nested_key[0]: float(item.value_json) for item in record.history.item}
            for name, value in items.items():
                if not name.startswith("_") and name != "step":
                    curves.setdefault(name, []).append((int(items["step"]), value))
    return curves


def test_offline_holds_the_curves_of_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("WANDB_MODE", "offline")
    state = train(tmp_path, config=OURS)
    assert state.losses == LOSSES and set(state.notes_lost.values()) == {0}
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    theirs = {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}
    ours = offline(tmp_path)
    assert ours.keys() == theirs.keys() and {"train/loss", "validation/loss", "score/line"} <= ours.keys()
    for name, points in ours.items():
        assert [step for step, _ in points] == [step for step, _ in theirs[name]]
        assert [value for _, value in points] == pytest.approx([value for _, value in theirs[name]], rel=1e-5)


def test_one_run_however_often_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dermray.train_loop.wandb_run import WandbRun

    monkeypatch.setenv("WANDB_MODE", "offline")
    for step in (1, 2):
        run = WandbRun("dermray-tests", str(tmp_path), OURS)
        run.write({"train/loss": float(step)}, step)
        run.close()
        time.sleep(1.1)  # wandb names a start's directory by the second
    number = (tmp_path / NOTE).read_text()
    starts = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert {file.stem for file in starts} == {f"run-{number}"}
    assert sorted(offline(tmp_path)["train/loss"]) == [(1, 1.0), (2, 2.0)]


def test_without_wandb_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"loop.wandb=x: needs Weights & Biases: pip install 'dermray\[wandb\]'"):
        _prepare(LoopConfig(steps=1, wandb="x"), str(tmp_path))


def test_a_server_out_of_reach_costs_its_notes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    state = train(tmp_path, config=OURS)
    assert state.losses == LOSSES
    lost = {kind: count for kind, count in state.notes_lost.items() if count}
    assert lost.keys() == {"Weights & Biases"} and lost["Weights & Biases"] >= 8
    assert curve(tmp_path / "tensorboard") == list(range(5, 41, 5))
