"""Arguments that several commands take."""

import argparse
import math
from pathlib import Path

from dermray.config import preset


def with_config(command: argparse.ArgumentParser, required: bool) -> None:
    """`--config`, and overrides of it."""
    command.add_argument(
        "--config", required=required, help="YAML file, or the name of a preset such as pipeline/quickstart"
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
