"""What a start that runs some stages says of the others."""

from pathlib import Path
from typing import Any

from dermray import manifest
from dermray.config import validate
from dermray.manifest import Result, Rows
from dermray.pipeline import Graph, PipelineConfig, load
from dermray.pipeline.run import _earlier
from tests.pipeline.test_report import CLASSIFY

STAGES: dict[str, Any] = {
    "first": CLASSIFY,
    "scored": {"stage": "predict", "classifier": {"from": "first"}, "rows": "r"},
    "second": CLASSIFY | {"seed": 1},
}


def finish(graph: Graph, name: str, **inputs: Result) -> Result:
    """A result of which only the manifest is there."""
    instance = graph[name]
    with manifest.work(instance.stage, instance.output, instance.config, inputs) as work:
        return work.finished or work.commit(Rows(rows_in=1, ok=1, rejected=0, failed=0), 1)


def test_earlier_results_are_told_if_they_are_of_what_is_here_now(tmp_path: Path) -> None:
    graph = load(validate(PipelineConfig, {"output": str(tmp_path), "stages": STAGES}))
    first = finish(graph, "first")
    scored = finish(graph, "scored", classifier=first)
    assert _earlier(graph, {"second": finish(graph, "second")}) == {"first": first, "scored": scored}
    assert _earlier(graph, {"first": first, "scored": scored}).keys() == {"second"}
    other = Result(first.uri, first.manifest.model_copy(update={"key": "another"}))
    assert "scored" not in _earlier(graph, {"first": other}), "it was made from the classifier before"


def test_another_stage_s_result_is_none_of_this_run_s(tmp_path: Path) -> None:
    finish(load(validate(PipelineConfig, {"output": str(tmp_path), "stages": {"second": CLASSIFY}})), "second")
    stages = {"first": CLASSIFY, "second": {"stage": "predict", "classifier": {"from": "first"}, "rows": "r"}}
    graph = load(validate(PipelineConfig, {"output": str(tmp_path), "stages": stages}))
    assert _earlier(graph, {"first": finish(graph, "first")}) == {}
