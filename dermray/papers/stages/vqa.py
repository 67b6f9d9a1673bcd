"""Answers to questions whose answers are known, by captioner."""

from collections.abc import Iterator

from dermray.manifest import Result
from dermray.papers.measured import Measured, Run
from dermray.papers.setting import Setting


def measured(name: str, result: Result, run: Run) -> Iterator[Measured]:
    """Every measure of every captioner, these in the order of the config."""
    data = run.data(result)
    for place, (captioner, measures) in enumerate(result.manifest.metrics["vqa"]["measures"].items(), 1):
        where = {"stage": "vqa", "instance": name, "captioner": captioner, "captioner_place": str(place)}
        for metric, cell in measures.items():
            setting = Setting(images=cell["n"] or None, data=data)
            at = where | {"metric": metric}
            yield Measured(at, cell["value"], cell["low"], cell["high"], cell.get("floor"), setting)
