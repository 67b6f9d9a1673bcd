"""The papers' graphs: at a scale, and finished."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

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


def smoke_cut(paper: str, directory: Path, captions: Sequence[str], *overrides: str) -> dict[str, Result]:
    """At smoke scale, and a stand-in captions, as in `small_run`: paper 003's cut starts vLLM, which in each would be a
    minute more.

    Args:
        captions: instances that caption.
    """
    from benchmarks.stand_in_engine import StandIn, model_directory
    from dermray.captioning import choose

    captioner = model_directory(str(directory))
    given = ["stages.captioner=null", *(f"stages.{name}.captioner={captioner}" for name in captions), *overrides]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "prepared", StandIn().prepared)
        return finished(paper, "smoke", directory / "run", *given)


def compared(result: Result) -> list[dict[str, str]]:
    """Lines of a comparison's table."""
    return list(csv.DictReader(Path(result.data, "comparison.csv").read_text().splitlines()))


def require_planted_copies_found(drawn: Result) -> None:
    """The gate missed no copy of a training image that was planted as it is or mirrored."""
    recall = drawn.manifest.metrics["gate"]["calibration"]["recall"]
    for kind in ("unchanged", "mirrored"):
        assert recall[kind]["planted"] >= 30 and recall[kind]["caught"] == 1.0, kind
