"""Arguments that several commands take."""

import argparse
import math
from pathlib import Path
from typing import Any

from dermray.config import preset


class _Once(argparse.Action):
    """An option that argparse would take from its last place, and drop the others unsaid."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if (before := getattr(namespace, self.dest)) is not None:
            parser.error(f"{option} {values}: given twice, {before} before; expected one, so run the command for each")
        setattr(namespace, self.dest, values)


def with_config(command: argparse.ArgumentParser, required: bool) -> None:
    """`--config`, and overrides of it."""
    command.add_argument(
        "--config",
        action=_Once,
        required=required,
        help="YAML file, or the name of a preset such as pipeline/quickstart",
    )
    with_overrides(command)


def with_overrides(command: argparse.ArgumentParser) -> None:
    """Settings in the place of those in a config's file."""
    command.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="for example loop.steps=100 or sources.0.path=/data; plain text is literal, brackets and quotes are YAML",
    )


def config_path(given: str) -> Path:
    """A file where there is one, otherwise the preset of that name."""
    return Path(given) if Path(given).suffix in (".yaml", ".yml") else preset(given)


def positive(text: str) -> int:
    """A number of at least 1."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number of at least 1")
    return int(text)


def price(text: str) -> float:
    """A number of at least 0."""
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected a price of at least 0, such as 2.50")
    return amount
