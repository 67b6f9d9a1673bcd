"""Trials that take 0.3 s and whose result is known beforehand: for tests of how trials are run.

    python -m tests.classification.stand_in_trials DIRECTORY SEEDS

runs a sweep's worth of them, as a driver does, and leaves their results in DIRECTORY/table.json.
"""

import hashlib
import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from dermray.backbones.networks import Backbone
from dermray.classification import trial_files
from dermray.classification.arms import ArmSettings, arms_of
from dermray.classification.grid import Trial, grid
from dermray.classification.tuning_settings import TuneSettings

SECONDS = 0.3


def trials(seeds: int) -> list[Trial]:
    """Six arms a seed."""
    backbone = Backbone(name="test_resnet", learning_rate=1e-3)
    return grid(arms_of(ArmSettings()), [backbone], [100], seeds, {"rows": "r"}, {"": "s"}, {"test_resnet": 32})


class StandIn:
    """A trial; notes in `directory`/began that it was begun."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def __call__(self, config: dict[str, Any]) -> None:
        from ray import tune

        named = config["trial"]
        (Path(self.directory) / "began" / f"{named['key']}-{uuid.uuid4().hex}").touch()
        time.sleep(SECONDS)
        auc = auc_of(named["key"])
        trial_files.write(f"{self.directory}/trials", named["key"], named | {"auc": auc}, {"test": np.ones((2, 2))}, [])
        tune.report({"auc": auc})


def auc_of(key: str) -> float:
    """Between 0 and 1, always the same."""
    return hashlib.sha256(key.encode()).digest()[0] / 255


def main(directory: str, seeds: int) -> None:
    """The driver."""
    from dermray.classification.tuning import complete
    from dermray.cluster import connect

    connect()
    (Path(directory) / "began").mkdir(exist_ok=True)
    chosen = trials(seeds)
    stand_in = StandIn(directory)

    def train(config: dict[str, Any]) -> None:  # Tune takes a function
        stand_in(config)

    complete(chosen, directory, train, TuneSettings(concurrent=2, cpus_per_trial=2))
    table = trial_files.results(f"{directory}/trials", [trial.key for trial in chosen])
    (Path(directory) / "table.json").write_text(json.dumps(table))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
