"""A sweep of stand-in trials on three Ray nodes under random kills, until it is done. Prints what happened as JSON.

    python -m tests.classification.chaos DIRECTORY KILLS SEEDS

Killed are, in random order, workers in the midst of a trial, the driver, and whole nodes.
"""

import os
import sys
from pathlib import Path

from tests.chaos import Job, processes, under_fire

KINDS = {"worker": 0.6, "driver": 0.15, "node": 0.25}


def main(directory: str, kills: int, seeds: int) -> None:
    """The sweep under fire. A trial takes two CPUs: none runs on the head. Each kill hits trials under way, not the
    start after one."""
    command = [sys.executable, "-m", "tests.classification.stand_in_trials", directory, str(seeds)]
    job = Job(
        Path(directory), command, KINDS, lambda _: processes("ImplicitFunc"), lambda: _begun(directory),
        every=1, pause=(0.05, 0.4),
    )  # fmt: skip
    under_fire(job, kills)


def _begun(directory: str) -> int:
    place = Path(directory) / "began"
    return len(os.listdir(place)) if place.is_dir() else 0


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
