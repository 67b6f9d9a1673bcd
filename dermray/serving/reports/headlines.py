"""What a stage's manifest says in a line or two."""

from collections.abc import Callable
from typing import Any

from dermray.manifest import Manifest


def headlines(about: Manifest) -> list[str]:
    """Sentences; none of a stage, or of an earlier version's manifest, whose figures are not known here."""
    try:
        return SAID[about.stage](about.metrics) if about.stage in SAID else []
    except (KeyError, TypeError, IndexError, AttributeError):
        return []


def _ingest(metrics: dict[str, Any]) -> list[str]:
    counts = [f"{name} {number:,}" for part in ("labels", "splits") for name, number in metrics[part].items() if number]
    return [", ".join(counts)]


def _caption(metrics: dict[str, Any]) -> list[str]:
    return [f"attributes right in {metrics['attribute_accuracy']['mean']:.1%} of phantoms"]


def _train(metrics: dict[str, Any]) -> list[str]:
    training = metrics["training"]
    return [f"{metrics['family']}: {training['steps']:,} steps, loss {training['loss']:.4f}"]


def _evaluate(metrics: dict[str, Any]) -> list[str]:
    return [
        f"{source}: Fréchet distance {distance['frechet_distance']:.3g} by {features['extractor']} (floor "
        f"{distance['frechet_floor']:.3g})"
        for source, found in metrics["sources"].items()
        for features in found["features"]
        for distance in features["distances"][:1]
    ]


def _sweep(metrics: dict[str, Any]) -> list[str]:
    return [line.strip() for line in metrics["summary"].splitlines() if line.strip()]


SAID: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "ingest": _ingest, "caption": _caption, "train": _train, "evaluate": _evaluate, "sweep": _sweep,
}  # fmt: skip
