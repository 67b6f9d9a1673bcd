"""`dermray plan`: what a run or a stage will take, from its config alone."""

import json
import sys
from pathlib import Path

from dermray.config import ConfigError, load, read_file
from dermray.pipeline import COMMANDS, Graph, Instance, PipelineConfig, command
from dermray.pipeline import load as load_graph
from dermray.planning import told
from dermray.planning.plan import make
from dermray.planning.rates import card_name


def run(
    given: str, file: Path, overrides: list[str], stage: str | None, gpu: str, rate: float | None, rows: int | None,
    as_json: bool,
) -> str:  # fmt: skip
    """What is printed. Counting a large model's operations is announced on stderr.

    Args:
        given: what the user called the config. file: of a run or of a stage. stage: whose config it is, where its
            folder does not say so. gpu: a card of rates.yaml. rate: price of its hour. rows: of inputs that are not
            there yet.

    Raises:
        ConfigError: a wrong config, nobody knows whose, or an unknown card.
    """
    gpu = card_name(gpu)  # an unknown one is refused before anything is read
    plan = make(graph_of(file, overrides, stage), gpu, rate, rows, _announce)
    return json.dumps(told.data(plan, given), indent=1) if as_json else told.text(plan, given)


def graph_of(file: Path, overrides: list[str], stage: str | None) -> Graph:
    """A run's stages, or the one stage that a config is of.

    Raises:
        ConfigError: see `run`.
    """
    if stage is None and "stages" in read_file(file):
        return load_graph(load(PipelineConfig, file, overrides))
    whose = stage or file.parent.name
    if whose not in COMMANDS:
        known = ", ".join(COMMANDS)
        if stage is not None:
            raise ConfigError(f"--stage {stage}: expected one of {known}")
        raise ConfigError(f"{file}: neither a run (no `stages`) nor in a stage's folder; give --stage, one of {known}")
    config = load(command(whose)[0], file, overrides)
    return {whose: Instance(whose, whose, config, {}, {})}


def _announce(sentence: str) -> None:
    print(f"{sentence} ...", file=sys.stderr, flush=True)
