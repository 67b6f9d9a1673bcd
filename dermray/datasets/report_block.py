"""What an ingest says in a run's report."""

from collections.abc import Mapping
from pathlib import Path

from dermray import pages
from dermray.manifest import Result
from dermray.pages import Block
from dermray.skin_tone.filling import NOT_ESTIMATED

TEMPLATE = Path(__file__).parent / "report_block.html"


def report_block(result: Result, inputs: Mapping[str, Result]) -> Block:
    """Splits, labels, skin tones, and what the tables lack."""
    metrics = result.manifest.metrics
    facts = {name: metrics[name] for name in ("splits", "labels", "skin_tones")}
    return Block("Images", pages.render(TEMPLATE, metrics=metrics, not_estimated=NOT_ESTIMATED), facts)
