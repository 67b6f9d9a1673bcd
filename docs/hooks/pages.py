"""Pages of the site that are made of the code: a stage's presets and config, families, sources, the command line."""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dermray.cli import DESCRIPTIONS, parser
from dermray.papers.published import PAPERS, read
from dermray.papers.shown import markdown
from dermray.pipeline import COMMANDS, command
from dermray.reference.configs import schema_of
from dermray.reference.presets import presets
from dermray.reference.tables import tables
from dermray.result_fields import result_fields

DOCS = Path(__file__).parents[1]
# What each stage does, in the order of the menu: those of a pipeline first, as they follow one another. Two more have a
# config and are no stage.
STAGES = {name: DESCRIPTIONS[name] for name in COMMANDS} | {
    "run": "run a graph of stages, then write a report",
    "serve": "serve generation, classification and captions over HTTP",
}
OVERVIEW = "{{ stages }}"  # stands in stages/index.md where the table goes
# What stands in a paper's page where its numbers go, and which paper's.
PUBLISHED = {f"{{{{ numbers of {name} }}}}": name for name in PAPERS}


def page_of(stage: str) -> str:
    """Where a stage's page is, below docs/."""
    return f"stages/{stage.replace(' ', '-')}.md"


def generated() -> Iterator[tuple[str, str]]:
    """Pages as (place, Markdown). A stage's own text, if docs/ has one, goes before what `reference` says."""
    for stage, text in STAGES.items():
        yield page_of(stage), f"# {stage}\n\n{text[0].upper()}{text[1:]}."
    yield "reference/presets.md", _all_presets()
    yield "reference/families.md", _families()
    yield "reference/sources.md", _sources()
    yield "reference/command-line.md", _command_line()


def overview() -> str:
    """A line a stage."""
    lines = ["| stage | what it does | reads results of | presets |", "|---|---|---|---|"]
    for name, text in STAGES.items():
        fields = result_fields(command(name)[0]) if name in COMMANDS else {}
        fed = ", ".join(sorted({stage for stages in fields.values() for stage in stages}))
        link = f"[`{name}`]({Path(page_of(name)).name})"
        lines.append(f"| {link} | {text} | {fed} | {len(presets_of(name)) or ''} |")
    return "\n".join(lines)


def with_numbers(text: str) -> str:
    """A page with a paper's numbers where these go."""
    for mark, name in PUBLISHED.items():
        text = text.replace(mark, markdown(read(name))) if mark in text else text
    return text


def reference(stage: str) -> str:
    """The end of a stage's page: presets and config."""
    parts = list[str]()
    own = DOCS / f"{stage.replace(' ', '-')}.md"
    if own.is_file():
        parts.append(f"More: [{own.stem}](../{own.name}).")
    if found := presets_of(stage):
        parts += ["## Presets", _table(found)]
    asked = f"'{stage}'" if " " in stage else stage
    parts += [
        "## Config",
        "Each field can be set in a YAML file or as `key=value` on the command line. Fields of a section have dotted "
        "names (`loop.steps=100`), items of a list have their number (`sources.0.path=/data`). "
        f"`dermray config {asked}` prints the same as a template.",
    ]
    if stage == "train":
        parts.append("What `model` holds depends on `family`: [fields of each family](../reference/families.md).")
    if stage == "ingest":
        parts.append("What a source holds depends on `source`: [fields of each source](../reference/sources.md).")
    return "\n\n".join([*parts, tables(schema_of(stage))])


def presets_of(stage: str) -> list[tuple[str, str]]:
    """A stage's presets; those of a run lie in two folders, those of the two steps of reader-study in one."""
    folder, _, step = stage.partition(" ")
    folders = ("pipeline/", "papers/") if stage == "run" else (f"{folder}/",)
    found = [(name, text) for name, text in presets() if name.startswith(folders)]
    return [(name, text) for name, text in found if not step or name.endswith("/analyse") == (step == "analyse")]


def _table(found: list[tuple[str, str]]) -> str:
    lines = (f"| `{name}` | {text.replace('|', chr(92) + '|').replace('[', chr(92) + '[')} |" for name, text in found)
    return "\n".join(["| preset | what it is for |", "|---|---|", *lines])


def _all_presets() -> str:
    by_folder: dict[str, list[tuple[str, str]]] = {}
    for name, text in presets():
        by_folder.setdefault(name.partition("/")[0], []).append((name, text))
    head = (
        "A preset is a YAML file in `jobs/configs`, and `--config` takes its name. `dermray presets` prints this list."
    )
    return "\n\n".join(["# Presets", head, *(f"## {name}\n\n{_table(found)}" for name, found in by_folder.items())])


def _families() -> str:
    from dermray.generators.base import FAMILIES

    text = ["# Fields of each family", "What `model` may hold in a config of [train](../stages/train.md), by `family`."]
    for name in FAMILIES:
        parts = schema_of("train", name)["$defs"]
        text += [f"## `{name}`", tables(parts["Part"] | {"$defs": parts}, start=f"{name}-model")]
    return "\n\n".join(text)


def _sources() -> str:
    from dermray.datasets.sources import SOURCES

    text = [
        "# Fields of each source",
        "What an item of `sources` may hold in a config of [ingest](../stages/ingest.md).",
    ]
    for name in SOURCES:
        parts = schema_of("ingest", name)["$defs"]
        text += [f"## `{name}`", tables(parts["Source"] | {"$defs": parts}, start=f"{name}-sources.0")]
    return "\n\n".join(text)


def _command_line() -> str:
    return "# The command line\n\n" + "\n\n".join(_helps(parser(), 2))


def _helps(command: argparse.ArgumentParser, level: int) -> Iterator[str]:
    command.formatter_class = partial(argparse.HelpFormatter, width=110)
    yield f"{'#' * level} `{command.prog}`\n\n```text\n{command.format_help().strip()}\n```"
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _helps(below, min(level + 1, 3))
