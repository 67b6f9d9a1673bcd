"""What a caption stage says in a run's report."""

from collections.abc import Mapping
from pathlib import Path

from dermray import pages
from dermray.manifest import Result
from dermray.pages import Block

TEMPLATE = Path(__file__).parent / "report_block.html"


def report_block(result: Result, inputs: Mapping[str, Result]) -> Block:
    """How true its captions are, where that is known."""
    config, accuracy = result.manifest.config, result.manifest.metrics["attribute_accuracy"]
    captioner = inputs.get("captioner")
    html = pages.render(
        TEMPLATE,
        accuracy=accuracy,
        on_phantoms=captioner is not None and captioner.manifest.stage == "captioner",
        by=_name(config, captioner),
        prompt_set=config["prompt_set"],
    )
    return Block("Captions", html, {"attribute_accuracy": accuracy})


def _name(config: dict[str, object], captioner: Result | None) -> str:
    remote = config.get("remote")
    if isinstance(remote, dict):
        return f"{remote['model']} at an endpoint"
    if captioner is not None:
        return f"the result of stage {captioner.manifest.stage} with key {captioner.manifest.key}"
    return str(config.get("captioner"))
