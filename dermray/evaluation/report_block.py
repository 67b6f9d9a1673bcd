"""What an evaluation says in a run's report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dermray import pages
from dermray.evaluation.page import stored_values
from dermray.manifest import Result
from dermray.pages import Block

TEMPLATE = Path(__file__).parent / "report_block.html"


def report_block(result: Result, inputs: Mapping[str, Result]) -> Block:
    """All its tables and pictures; in the summary the distance of all images in the first extractor's features."""
    metrics = result.manifest.metrics
    html = pages.render(TEMPLATE, **stored_values(result.data, metrics))
    return Block("Synthetic images", html, {"sources": {name: _facts(s) for name, s in metrics["sources"].items()}})


def _facts(source: dict[str, Any]) -> dict[str, Any]:
    distances = source["features"][0]["distances"][0]
    return {
        "attribute_accuracy": source["attribute_accuracy"],
        "frechet_distance": distances.get("frechet_distance"),
        "frechet_floor": distances.get("frechet_floor"),
    }
