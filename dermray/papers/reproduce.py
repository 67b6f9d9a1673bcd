"""`dermray reproduce NAME`: a paper's graph at a scale, over the paper's data or what stands for it."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from dermray import manifest, storage
from dermray.config import ConfigError, preset, read_file
from dermray.papers.published import PAPERS
from dermray.papers.run import STAGE
from dermray.pipeline import Graph

SHORT = {"glide": "glide_ham10000"}
FOLDER = "papers"  # of presets


def asked_for(name: str, scale: str | None, data: str | None, overrides: list[str]) -> tuple[Path, list[str]]:
    """The preset, and the overrides that make of it what was asked for. A scale has a directory of its own.

    Args:
        name: of a paper. scale: None for the preset's own. data: in the place of `data/`. overrides: of the user, which
            win.

    Raises:
        ConfigError: no such paper; a scale in `overrides`, which would share another one's directory; or data there,
            which have an option.
    """
    paper = SHORT.get(name, name)
    if paper not in PAPERS:
        raise ConfigError(f"reproduce {name}: expected one of {', '.join([*SHORT, *PAPERS])}")
    file = preset(f"{FOLDER}/{paper}")
    given = read_file(file)
    for text in overrides:
        key, _, value = text.partition("=")
        if key == "scale":
            raise ConfigError(f"{text}: give --scale {value}, by which the output is named too")
        if key == "data":
            raise ConfigError(f"{text}: give --data {value}")
        if text in given.get("scales", {}):
            raise ConfigError(f"{text}: give --scale {text}")
    scale = str(given.get("scale")) if scale is None else scale
    made = {"scale": scale, "output": f"{given.get('output')}-{scale}"} | ({} if data is None else {"data": data})
    return file, [*(f"{key}={json.dumps(value)}" for key, value in made.items()), *overrides]


def pages(graph: Graph, names: Iterable[str]) -> Iterator[str]:
    """Where the finished comparisons with a paper among these instances lie."""
    for name in names:
        if graph[name].stage == STAGE:
            result = manifest.read(graph[name].output)
            yield storage.join(result.data, str(result.manifest.metrics["page"]))
