"""One stage of a run in a process of its own: `python -m dermray.pipeline.child PARENT TOLD`, its config on standard
input. Started by processes.py."""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from dermray import cli
from dermray.cluster import prepare_environment
from dermray.config import validate
from dermray.pipeline.commands import command

PR_SET_PDEATHSIG = 1  # prctl(2)


def main(parent: int, told: Path) -> None:
    """Run the stage that standard input names, and write where its result is to `told`."""
    _end_with(parent)
    given = json.load(sys.stdin)
    prepare_environment()

    def run() -> None:
        cls, stage = command(given["stage"])
        told.write_text(stage(validate(cls, given["section"], where=given["name"])).uri)

    cli.ending(run)


def _end_with(parent: int) -> None:
    """A run that is killed must not leave a stage at work, whose place the next start would find claimed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before that
        sys.exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
