"""`dermray run`, `quickstart` and `reproduce`: a graph of stages, whole or in part, and where its report lies."""

import argparse
from pathlib import Path
from typing import Any

from dermray.commands.arguments import config_path, with_config, with_overrides
from dermray.config import load

COMMANDS = ("run", "quickstart", "reproduce")


def with_runs(commands: Any) -> None:
    """The three commands and their arguments."""
    run = commands.add_parser("run", help="run a graph of stages, then write a report")
    quickstart = commands.add_parser("quickstart", help="run the whole loop on phantoms, in minutes")
    reproduce = commands.add_parser(
        "reproduce", help="run a paper's experiment, and put its numbers and ours beside each other"
    )
    with_config(run, required=True)
    with_config(quickstart, required=False)
    reproduce.add_argument(
        "paper", metavar="{glide,dermdit,dermaflux,dermasynth}", help="which paper: the preset papers/NAME"
    )
    with_overrides(reproduce)
    reproduce.add_argument(
        "--scale", help="paper (the paper's own size), or nano, photographs or smoke; default: the preset's, nano"
    )
    reproduce.add_argument(
        "--data", metavar="ROOT", help="directory or URI in the place of `data/`, below which presets have data sets"
    )
    for command in (run, quickstart, reproduce):
        _with_choice(command)


def _with_choice(command: argparse.ArgumentParser) -> None:
    command.add_argument("--graph", action="store_true", help="print the stages and their inputs; start nothing")
    command.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="run this stage alone; may be given several times"
    )
    command.add_argument(
        "--until",
        action="append",
        default=[],
        metavar="NAME",
        help="run this stage and all that it needs; may be given several times",
    )


def run(arguments: argparse.Namespace) -> None:
    """Of one of the three commands."""
    if arguments.command == "reproduce":
        from dermray.papers import reproduce

        file, overrides = reproduce.asked_for(arguments.paper, arguments.scale, arguments.data, arguments.overrides)
    else:
        file, overrides = config_path(arguments.config or "pipeline/quickstart"), arguments.overrides
    _run(file, overrides, arguments)


def _run(file: Path, overrides: list[str], arguments: argparse.Namespace) -> None:
    from dermray.pipeline import PipelineConfig, graph, listing
    from dermray.pipeline.run import run as run_graph
    from dermray.planning.required import require
    from dermray.serving.runs import TASKS

    config = load(PipelineConfig, file, overrides)
    stages = graph.load(config)
    names = graph.chosen(stages, arguments.only, arguments.until)
    if arguments.graph:
        print(listing.as_text(stages, names))
        return
    require(config, stages, names)
    summary = run_graph(config, arguments.only, arguments.until)
    print(f"\nreport:  {config.output}/report.html")
    print(f"summary: {config.output}/summary.json")
    if arguments.command == "reproduce":
        from dermray.papers.reproduce import pages

        for page in pages(stages, names):
            print(f"paper:   {page}")
    if TASKS.keys() & {stage["stage"] for stage in summary["stages"].values()}:
        print(f"serve:   dermray serve --run {config.output}    (then open http://127.0.0.1:8000/docs)")
    for line in summary["lines"]:
        print(f"  {line}")
