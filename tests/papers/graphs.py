"""The papers' graphs: at a scale, and finished."""

import csv
from pathlib import Path

from dermray import manifest, pipeline
from dermray.config import load, preset
from dermray.manifest import Result
from dermray.pipeline import Graph, PipelineConfig
from dermray.pipeline.run import run


def graph_of(paper: str, scale: str, *overrides: str) -> Graph:
    """Instances by name."""
    return pipeline.load(load(PipelineConfig, preset(f"papers/{paper}"), [f"scale={scale}", *overrides]))


def finished(paper: str, scale: str, directory: Path, *overrides: str) -> dict[str, Result]:
    """The whole graph, run in this process; results by instance."""
    config = load(PipelineConfig, preset(f"papers/{paper}"), [f"scale={scale}", f"output={directory}", *overrides])
    summary = run(config)
    graph = pipeline.load(config)
    return {name: manifest.read(graph[name].result) for name in summary["stages"]}


def compared(result: Result) -> list[dict[str, str]]:
    """Lines of a comparison's table."""
    return list(csv.DictReader(Path(result.data, "comparison.csv").read_text().splitlines()))
