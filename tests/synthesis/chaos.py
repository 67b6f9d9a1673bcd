"""A synthesis on three Ray nodes under random kills, until it is done. Prints what happened as JSON.

    python -m tests.synthesis.chaos DIRECTORY KILLS COUNT

DIRECTORY holds `caption` and `train`. Killed are, in random order, actors that draw, the driver, and whole nodes.
"""

import sys
from pathlib import Path

from tests.chaos import Job, processes, under_fire

BATCH = 8
KINDS = {"actor": 0.7, "driver": 0.15, "node": 0.15}
PLAN = "{mode: as_data, over: [malignant, skin_tone, sex]}"


def main(directory: str, kills: int, count: int) -> None:
    """Draw under fire."""
    command = [sys.executable, "-m", "dermray.cli", "generate", "--config", "generate/nano"]
    command += settings(directory, count, "generate")
    job = Job(Path(directory), command, KINDS, lambda _: processes("(Draw)"), lambda: _blocks(directory))
    under_fire(job, kills)


def _blocks(directory: str) -> int:
    return len(list(Path(directory).glob("generate/data-*/rows/**/*.parquet")))


def settings(directory: str, count: int, output: str) -> list[str]:
    """Of the command line."""
    given = {"rows": f"{directory}/caption", "generator": f"{directory}/train", "output": f"{directory}/{output}"}
    given |= {"count": str(count), "batch_size": str(BATCH), "sampling_steps": "60", "plan": PLAN}
    given |= {"gate": "{training_steps: 10, planted: 2, calibration_images: 30}"}  # what it says is no matter here
    return [f"{name}={value}" for name, value in given.items()]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
