"""`dermray presets`: every preset with its first sentence."""

import re
from pathlib import Path

from dermray.config import PRESETS, ConfigError

SENTENCE = re.compile(r"(?<=\.)\s+(?=[A-Z0-9`])|:\s*$")


def presets(stage: str | None = None) -> list[tuple[str, str]]:
    """Names as `--config` takes them, and what each is for.

    Raises:
        ConfigError: no such stage has presets.
    """
    stages = sorted(place.name for place in PRESETS.iterdir() if place.is_dir())
    if stage is not None and stage not in stages:
        raise ConfigError(f"presets of {stage!r}: expected one of {', '.join(stages)}")
    files = sorted(PRESETS.glob(f"{stage or '*'}/*.yaml"))
    return [(str(file.relative_to(PRESETS).with_suffix("")), first_sentence(file)) for file in files]


def first_sentence(file: Path) -> str:
    """Of the comment at the head of a preset."""
    comment = list[str]()
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return SENTENCE.split(" ".join(comment))[0]


def listed(stage: str | None = None) -> str:
    """A line a preset, for a terminal."""
    found = presets(stage)
    width = max(len(name) for name, _ in found)
    return "\n".join(f"{name:<{width}}  {sentence}" for name, sentence in found)
