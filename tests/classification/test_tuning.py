"""Trials in Tune. What a trial does is made up here: this is about those that fail or are killed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError
from ray.tune import TuneError

from dermray.classification import trial_files
from dermray.classification.tuning import by_the_machine, complete
from dermray.classification.tuning_settings import TuneSettings
from dermray.config import ConfigError, validate
from tests.chaos import survived
from tests.classification.stand_in_trials import auc_of, trials

ROOT = Path(__file__).parent.parent.parent


def of_task(error: Exception) -> RayTaskError:
    return RayTaskError("f", "frames", error, proctitle="p", pid=7, ip="127.0.0.1")


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ActorDiedError(), True),
        (OutOfMemoryError("low on memory"), True),
        (TuneError("Trainable runner reuse requires reset_config()"), True),
        (of_task(OSError(28, "No space left on device")), True),
        (of_task(ActorDiedError()), True),
        (of_task(ValueError("one class only")), False),
        (of_task(TypeError("x")), False),
        (of_task(AssertionError("Input height (32) doesn't match model (224)")), False),
        (of_task(RuntimeError("mat1 and mat2 shapes cannot be multiplied")), False),
        (of_task(ImportError("x")), False),
    ],
)
def test_what_a_trial_raised_itself_is_not_tried_again(error: BaseException, again: bool) -> None:
    assert by_the_machine(error) is again


@pytest.mark.slow
def test_a_trial_that_a_machine_failed_runs_once_more_and_no_other_does(
    local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, first, second = str(tmp_path), trials(1), trials(2)

    def stumbling(config: dict[str, Any]) -> None:
        """The disk is full, or it raises, where there is a file of that name."""
        from ray import tune

        key = config["trial"]["key"]
        with (tmp_path / "ran").open("a") as file:
            file.write(key + "\n")
        if key == first[4].key and (tmp_path / "full").exists():
            (tmp_path / "full").unlink()
            raise OSError(28, "No space left on device")
        if key == second[-1].key and (tmp_path / "raises").exists():
            raise ValueError("it stumbled")
        trial_files.write(f"{place}/trials", key, config["trial"] | {"auc": auc_of(key)}, {"test": np.ones((1, 2))}, [])
        tune.report({"auc": 0.5})

    (tmp_path / "full").touch()
    settings = TuneSettings(concurrent=3, mlflow=f"file:{tmp_path}/mlflow")
    complete(first, place, stumbling, settings)
    assert Counter((tmp_path / "ran").read_text().split()) == {t.key: 2 if t is first[4] else 1 for t in first}
    shown = capsys.readouterr().out
    assert shown.rstrip().splitlines()[-1].split()[:2] == ["more", "real"] and shown.count("(1)") >= 6

    (tmp_path / "raises").touch()  # a larger sweep: what is done is not run again
    with pytest.raises(ValueError, match="1 of 12 trials failed, one of them with: it stumbled"):
        complete(second, place, stumbling, settings)
    (tmp_path / "raises").unlink()
    complete(second, place, stumbling, settings)
    complete(second, place, stumbling, settings)
    again = Counter((tmp_path / "ran").read_text().split())
    assert again == {t.key: 2 if t.key in (first[4].key, second[-1].key) else 1 for t in second}
    assert len(list((tmp_path / "tune").iterdir())) == 4, "a start of Tune for each time that something was missing"
    names = {path.parent.name for path in (tmp_path / "tune").glob("*/*/events.out.tfevents.*")}
    assert len(names) == 12 and f"real_+_synthetic_1_2-test_resnet-100_real-seed_1-{second[9].key[:6]}" in names
    runs = list((tmp_path / "mlflow").glob("*/*/params/trial/arm"))
    assert len(runs) == 14 and {run.read_text() for run in runs} >= {"real only", "more real"}


def test_trackers_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"wandb=skin: needs wandb: pip install 'dermray\[wandb\]'"):
        validate(TuneSettings, {"wandb": "skin"})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_random_kills(tmp_path: Path) -> None:
    _bears_kills(tmp_path, kills=3, seeds=4)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fifteen_random_kills(tmp_path: Path) -> None:
    _bears_kills(tmp_path, kills=15, seeds=20)


def _bears_kills(tmp_path: Path, kills: int, seeds: int) -> None:
    killed = survived("tests.classification.chaos", tmp_path, kills, seeds)
    assert len(killed) == kills and set(killed) == {"worker", "driver", "node"}
    expected, table = trials(seeds), json.loads((tmp_path / "table.json").read_text())
    assert table == [trial.named() | {"auc": auc_of(trial.key)} for trial in expected], "each once, and none changed"
    begun = Counter(note.name.partition("-")[0] for note in (tmp_path / "began").iterdir())
    assert begun.keys() == {trial.key for trial in expected}
    assert len(expected) < begun.total() <= len(expected) + 2 * kills, "two are under way at most"
