"""What a sweep, or several of them together, say in a run's report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dermray import pages
from dermray.classification import page
from dermray.manifest import Result
from dermray.pages import Block

TEMPLATE = Path(__file__).parent / "report_block.html"
KEPT = ("backbone", "arm", "ratio", "seed")  # of a trial, in the summary


def report_block(result: Result, inputs: Mapping[str, Result]) -> Block:
    """The verdict with its controls, groups and all metrics; in the summary every trial of a single sweep."""
    metrics = result.manifest.metrics
    trials, verdict = metrics.get("trials", []), metrics["verdict"]
    html = pages.render(
        TEMPLATE,
        seeds=len({trial["seed"] for trial in trials}),
        backbones=len({trial["backbone"] for trial in trials}),
        sweeps=len(inputs),
        of_others="" if result.manifest.leaking_groups else _of_others(metrics["tested"]),
        tested=[(analysis, page.pictures(result.data, analysis)) for analysis in metrics["tested"]],
    )
    facts = {"verdict": verdict} | ({"trials": list(map(_facts, trials))} if trials else {})
    return Block("Do synthetic images help a classifier?", html, facts, tuple(map(_line, verdict)))


def _of_others(tested: Sequence[dict[str, Any]]) -> str:
    """Whose images the test images are. Where a patient is not told, images of one may lie on both sides."""
    if all(analysis.get("patients_known") for analysis in tested):
        return " of other patients"
    return " of other leak groups (lesions or patients, as far as they are known)"


def _facts(trial: dict[str, Any]) -> dict[str, Any]:
    metrics = trial["overall"] | {"groups": trial["groups"], "auc_gap": trial["auc_gap"]}
    return {name: trial[name] for name in KEPT} | {"metrics": metrics}


def _line(verdict: dict[str, Any]) -> str:
    return f"{'yes' if verdict['came_out'] else 'NO '}  {verdict['claim']} ({verdict['mean']:+.3f} AUC)"
