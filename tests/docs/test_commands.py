"""Every command that documentation shows is one: its options, presets, files and the fields of its overrides exist."""

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from dermray import cli, pipeline
from dermray.commands.arguments import config_path
from dermray.config import load
from dermray.papers.reproduce import asked_for
from dermray.pipeline import COMMANDS, PipelineConfig, command
from dermray.provenance.settings import ExportConfig
from dermray.publishing.settings import PublishConfig
from dermray.serving.settings import ServiceConfig
from tests.docs.commands import ROOT, Shown, configs_of, in_blocks, in_sentences
from tests.docs.fields import is_field

OTHERS: dict[str, Any] = {
    "run": PipelineConfig, "quickstart": PipelineConfig, "serve": ServiceConfig,
    "export": PublishConfig, "export-images": ExportConfig,
}  # fmt: skip
FILE = re.compile(r"(?:cluster|serve_configs|jobs|tests|benchmarks)/\S+\.(?:yaml|yml|py)")
SETTING = re.compile(r"([a-z_]+(?:\.[a-z_0-9]+)+)=")
MADE_BY_READERS = {"cluster/kuberay/secret.yaml"}
BLOCKS = list(in_blocks())
OURS = [shown for shown in BLOCKS if shown.words[0] == "dermray"]
JOBS = [shown for shown in BLOCKS if "jobs/" in str(shown) and "--" in shown.words]


def accepted(arguments: argparse.Namespace, page: str, tmp_path: Path) -> None:
    """A config with these overrides is valid. A file of the reader's own is the one that the page shows, if it does."""
    name = " ".join(filter(None, [arguments.command, getattr(arguments, "step", None)]))
    if name == "reproduce":
        paper, overrides = asked_for(arguments.paper, arguments.scale, arguments.data, arguments.overrides)
        pipeline.load(load(PipelineConfig, paper, overrides))
        return
    cls = command(name)[0] if name in COMMANDS else OTHERS.get(name)
    if cls is None or not (arguments.config or arguments.overrides):
        return
    file = config_path(arguments.config) if arguments.config else None
    if file is not None and not file.is_file():
        if file.name not in configs_of(page):
            return
        file = tmp_path / file.name
        file.write_text(configs_of(page)[file.name])
    if name == "serve" and getattr(arguments, "run", None):
        arguments.overrides.append(f"run={arguments.run}")
    given = {"export": ["result=runs/a", "output=b"], "export-images": ["images=runs/a", "output=b"]}.get(name, [])
    config = load(cls, file, [*given, *arguments.overrides])
    if isinstance(config, PipelineConfig):
        pipeline.load(config)


@pytest.mark.parametrize("shown", OURS, ids=str)
def test_a_command_is_valid(shown: Shown, tmp_path: Path) -> None:
    accepted(cli._parsed(shown.words[1:]), shown.page, tmp_path)


@pytest.mark.parametrize("shown", JOBS, ids=str)
def test_a_job_is_a_command_too(shown: Shown, tmp_path: Path) -> None:
    start = next(number for number, word in enumerate(shown.words) if word.startswith("jobs/") and word.endswith(".py"))
    script, *words = shown.words[start:]
    if words != ["--config", "..."]:
        accepted(cli._parsed([Path(script).stem.replace("_", "-"), *words]), shown.page, tmp_path)


def test_files_that_commands_name_are_there() -> None:
    named = {(shown.page, word) for shown in BLOCKS for word in shown.words if FILE.fullmatch(word) and "*" not in word}
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name[1]).is_file() and name[1] not in MADE_BY_READERS] == []


def test_targets_of_make_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {
        word for shown in [*BLOCKS, *in_sentences("make ")] for word in shown.words[1:] if shown.words[0] == "make"
    }
    assert asked - targets == set() and {"quickstart", "test", "docs"} <= asked


def _told(root: argparse.ArgumentParser, words: tuple[str, ...]) -> argparse.ArgumentParser | None:
    """The sub-command that words begin with; none where there is none of this name."""
    for action in root._actions:
        if isinstance(action, argparse._SubParsersAction) and words:
            below = action.choices.get(words[0])
            return None if below is None else _told(below, words[1:])
    return root


def test_commands_in_sentences_have_their_options() -> None:
    wrong, seen = list[str](), 0
    for shown in in_sentences("dermray "):
        words = tuple(word for word in shown.words[1:] if word not in ("STAGE", "RESULT", "--help"))
        found = _told(cli.parser(), words)
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        if found is None or any(option not in found._option_string_actions for option in options):
            wrong.append(str(shown))
        seen += 1
    assert wrong == [] and seen > 40


def test_settings_in_sentences_are_fields() -> None:
    """Those with a dot in them; without one they may be other programs' arguments."""
    words = [(shown.page, word) for shown in in_sentences("") for word in shown.words]
    named = {(page, found[1]) for page, word in words if (found := SETTING.match(word))}
    assert len(named) > 25
    assert [name for name in named if not is_field(name[1])] == []
    assert not is_field("loop.stps") and not is_field("model.stps") and is_field("sources.0.path")
