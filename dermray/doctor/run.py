"""`dermray doctor`."""

from collections.abc import Iterator
from pathlib import Path

from dermray.doctor import cluster, machine, place, single_stage, whole_run
from dermray.doctor.finding import Finding


def findings(output: str | None, stage: str | None, file: Path | None, overrides: list[str]) -> Iterator[Finding]:
    """All that is asked, the quick things first."""
    yield from machine.findings()
    if file is not None and stage == whole_run.RUN:
        yield from whole_run.findings(file, overrides)
    elif file is not None and stage is not None:
        yield from single_stage.findings(stage, file, overrides)
    if output is not None:
        yield from place.findings(output)
    yield from cluster.findings()


def examine(output: str | None, stage: str | None, file: Path | None, overrides: list[str]) -> bool:
    """Print each finding when it is there; whether there is no fault among them."""
    faults = 0
    for finding in findings(output, stage, file, overrides):
        print(finding, flush=True)
        faults += finding.level == "fault"
    print(f"\n{faults or 'no'} fault{'s' * (faults > 1)}")
    return not faults
