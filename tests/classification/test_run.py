"""The sweep's trials in Tune. What a trial does is made up here: this is about trials that fail."""

from pathlib import Path
from typing import Any

import pytest

from dermray.classification import run
from dermray.classification.arms import ARMS
from dermray.classification.run import SweepConfig
from dermray.config import validate


def stumbling(chosen: dict[str, Any], images: dict[str, Any], settings: Any) -> None:
    """Fails where there is a file `once`, which it removes."""
    from ray import tune

    place = Path(images["place"])
    if chosen["seed"] == 1 and chosen["arm"] == ARMS[0].name and (place / "once").exists():
        (place / "once").unlink()
        raise RuntimeError("stumbled")
    with (place / "ran").open("a") as file:
        file.write("x")
    tune.report({"auc": 0.5, "details": "{}"})


@pytest.mark.slow
def test_a_trial_that_fails_runs_once_more_and_no_other_does(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "trial", stumbling)
    backbones = [{"name": "test_resnet", "learning_rate": 6e-3}]
    config = validate(SweepConfig, {"output": "o", "rows": "r", "synthetic": "s", "seeds": 2, "backbones": backbones})
    (tmp_path / "once").touch()
    trials = run._tune({"place": str(tmp_path)}, str(tmp_path / "sweep"), config)
    assert len(trials) == 2 * len(ARMS) == len((tmp_path / "ran").read_text()) and not (tmp_path / "once").exists()
