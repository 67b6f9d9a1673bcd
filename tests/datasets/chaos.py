"""An ingest on three Ray nodes under random kills, until it is done. Prints what happened as JSON.

    python -m tests.datasets.chaos DIRECTORY KILLS KINDS

DIRECTORY holds `config.yaml`; KINDS are those of the kills, with commas. Killed are, in random order, workers whatever
they are at (listing, decoding, grouping, joining, counting), the driver, and whole nodes.
"""

import sys
from pathlib import Path

import psutil

from tests.chaos import Job, processes, under_fire

KINDS = {"worker": 0.5, "driver": 0.25, "node": 0.25}


def main(directory: str, kills: int, kinds: list[str]) -> None:
    """Ingest under fire."""
    command = [sys.executable, "-m", "dermray.cli", "ingest", "--config", f"{directory}/config.yaml"]
    shares = {kind: KINDS[kind] for kind in kinds}
    under_fire(Job(Path(directory), command, shares, _at_work, lambda: _blocks(directory), pause=(0.05, 0.5)), kills)


def _at_work(_: str) -> list[psutil.Process]:
    """Workers in a task, as Ray names them. Without its agents a node dies, and the head with its own is no matter of
    ours."""
    others = {process.pid for name in ("IDLE", "Agent", "Actor") for process in processes(name)}
    return [process for process in processes("ray::") if process.pid not in others]


def _blocks(directory: str) -> int:
    return len(list(Path(directory).glob("out/data-*/*/*.parquet")))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3].split(","))
