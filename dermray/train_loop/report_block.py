"""What a training says in a run's report, where it has no more to say than its loss."""

from dermray import pages
from dermray.figures import loss_curve
from dermray.manifest import Result
from dermray.pages import Block


def training_block(title: str, result: Result) -> Block:
    """Steps, and the curve of the loss."""
    training = result.manifest.metrics["training"]
    html = (
        f"<p>{training['steps']} steps on {_workers(training['workers'])}, loss {training['loss']:.4f}.</p>"
        f'<p><img src="{pages.data_url(loss_curve(training))}" alt="loss by step" width="440"></p>'
    )
    return Block(title, html, {"loss": training["loss"]})


def _workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"
