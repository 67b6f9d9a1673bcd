"""A stage's config: is it valid, and is what it names where it says?"""

from collections.abc import Iterator
from pathlib import Path

from dermray.config import ConfigError, load
from dermray.doctor import gpu_need
from dermray.doctor.config import UNSET, named, there, unset_advice, unset_keys
from dermray.doctor.finding import Finding, fault, ok
from dermray.planning.missing import missing_data


def findings(stage: str, file: Path, overrides: list[str]) -> Iterator[Finding]:
    """Of a stage's config: valid, and what it names is there."""
    from dermray.pipeline import command

    try:
        config = load(command(stage)[0], file, overrides)
    except ConfigError as error:
        yield fault(str(error), "correct it; `dermray config` prints what there is")
        return
    yield ok(f"{file}: a valid config of {stage}")
    for field, place in named(config):
        yield there(field, place)
    for lack in missing_data(stage, config):
        yield fault(f"{lack.field}={lack.place}: {lack.state}", lack.advice)
    for field, variable in unset_keys(config):
        yield fault(f"{field}={variable}: {UNSET}", unset_advice(variable))
    yield from gpu_need.findings(dict(gpu_need.asked(config)))
