"""The sweep's trials in Tune. What a trial does is made up here: this is about trials that fail."""

from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError
from ray.tune import TuneError

from dermray.classification import run
from dermray.classification.arms import ARMS
from dermray.classification.run import SweepConfig, by_the_machine
from dermray.config import validate

BACKBONES = [{"name": "test_resnet", "learning_rate": 6e-3}]
CONFIG = {"output": "o", "rows": "r", "synthetic": "s", "seeds": 2, "backbones": BACKBONES}


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


def stumbling(chosen: dict[str, Any], images: dict[str, Any], settings: Any) -> None:
    """The disk is full, or it raises, where there is a file of that name, which it removes."""
    from ray import tune

    place = Path(images["place"])
    if chosen["seed"] == 1 and chosen["arm"] == ARMS[0].name:
        if (place / "full").exists():
            (place / "full").unlink()
            raise OSError(28, "No space left on device")
        if (place / "raises").exists():
            (place / "raises").unlink()
            raise ValueError("it stumbled")
    with (place / "ran").open("a") as file:
        file.write("x")
    tune.report({"auc": 0.5, "details": "{}"})


@pytest.mark.slow
def test_a_trial_that_a_machine_failed_runs_once_more_and_no_other_does(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "trial", stumbling)
    config = validate(SweepConfig, CONFIG)
    (tmp_path / "full").touch()
    trials = run._tune({"place": str(tmp_path)}, str(tmp_path / "sweep"), config)
    assert len(trials) == 2 * len(ARMS) == len((tmp_path / "ran").read_text()) and not (tmp_path / "full").exists()
    (tmp_path / "raises").touch()
    with pytest.raises(ValueError, match="1 of 12 trials failed, one of them with: it stumbled"):
        run._tune({"place": str(tmp_path)}, str(tmp_path / "another"), config)
    assert len((tmp_path / "ran").read_text()) == 2 * len(trials) - 1
