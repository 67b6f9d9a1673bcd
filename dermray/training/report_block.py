"""What a training of a generator says in a run's report."""

from collections.abc import Mapping
from pathlib import Path

from dermray import pages
from dermray.figures import loss_curve
from dermray.manifest import Result
from dermray.pages import Block

TEMPLATE = Path(__file__).parent / "report_block.html"


def report_block(result: Result, inputs: Mapping[str, Result]) -> Block:
    """Its loss, and whether its texts were read whole."""
    metrics = result.manifest.metrics
    training, family = metrics["training"], metrics["family"]
    html = pages.render(
        TEMPLATE,
        family=family,
        training=training,
        losses=pages.data_url(loss_curve(training)),
        text=metrics.get("text"),
    )
    return Block("The generator's training", html, {"family": family, "loss": training["loss"]})
