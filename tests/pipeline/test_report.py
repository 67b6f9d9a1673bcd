"""The report knows no stage by name: each has its own block, and several instances of a stage have one each."""

from pathlib import Path
from typing import Any

import pytest

from dermray import manifest
from dermray.config import validate
from dermray.manifest import Result
from dermray.memory import PeakMemory
from dermray.pages import Block
from dermray.pipeline import COMMANDS, Graph, PipelineConfig, load, report
from dermray.pipeline.commands import module_of

CLASSIFY: dict[str, Any] = {
    "stage": "classify",
    "rows": "rows",
    "backbone": {"name": "test_resnet", "learning_rate": 1e-3},
    "training": {"steps": 3},
}
STAGES: dict[str, Any] = {
    "first": CLASSIFY,
    "second": CLASSIFY | {"seed": 1},
    "scored": {"stage": "predict", "classifier": {"from": "second"}, "rows": "rows"},
}


@pytest.fixture
def run(tmp_path: Path) -> tuple[PipelineConfig, Graph, dict[str, Result]]:
    """Two results of classify and one of predict, of which nothing but their manifests is there."""
    config = validate(PipelineConfig, {"output": str(tmp_path), "stages": STAGES, "title": "of <two>"})
    graph, results = load(config), dict[str, Result]()
    for name, instance in graph.items():
        with manifest.work(instance.stage, instance.output, instance.config, {}) as work:
            work.licences = [f"licence-{name}"]
            said = f"{name}: AUC <0.9>"
            results[name] = work.commit(manifest.Rows(rows_in=2, ok=2, rejected=0, failed=0), 2, summary=said)
    return config, graph, results


def test_every_instance_has_its_own_block(run: tuple[PipelineConfig, Graph, dict[str, Result]]) -> None:
    config, graph, results = run
    summary = report.write(config.output, graph, results, PeakMemory(config.output), config)
    assert {name: stage["stage"] for name, stage in summary["stages"].items()} == {
        "first": "classify", "second": "classify", "scored": "predict",
    }  # fmt: skip
    page = Path(config.output, "report.html").read_text()
    for name in STAGES:
        assert f"{name}: AUC &lt;0.9&gt;" in page and f"licence-{name}" in page
        assert page.count(f'href="#{name}"') == 2 and f'<h2 id="{name}">' in page, (
            "the picture and the table lead there"
        )
    assert "<title>of &lt;two&gt;</title>" in page and summary["lines"] == []


def test_what_was_split_by_image_is_said_first_and_at_each_block(
    run: tuple[PipelineConfig, Graph, dict[str, Result]],
) -> None:
    config, graph, results = run
    told = results["first"].manifest.model_copy(update={"leaking_groups": {"i": 7}})
    results["first"] = Result(results["first"].uri, told)
    summary = report.write(config.output, graph, results, PeakMemory(config.output), config)
    assert summary["stages"]["first"]["leaking_groups"] == 7 and "leaking_groups" not in summary["stages"]["second"]
    page = Path(config.output, "report.html").read_text()
    mark = "split by image: 7 leak groups lie in several splits"
    assert f"<li>{mark}" in page and page.count(f'<p class="bad">{mark}') == 1


def test_a_stage_s_own_block_is_given_its_inputs(
    run: tuple[PipelineConfig, Graph, dict[str, Result]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, graph, results = run
    seen = dict[str, dict[str, str]]()

    def report_block(result: Result, inputs: dict[str, Result]) -> Block:
        seen[result.uri] = {field: read.uri for field, read in inputs.items()}
        return Block("Own", "<p>mine</p>", {"fact": 1}, ("one line",))

    monkeypatch.setattr(module_of("predict"), "report_block", report_block, raising=False)
    summary = report.write(config.output, graph, results, PeakMemory(config.output), config)
    assert seen == {f"{config.output}/scored": {"classifier": f"{config.output}/second"}}
    assert summary["stages"]["scored"]["fact"] == 1 and summary["lines"] == ["one line"]
    assert "<p>mine</p>" in Path(config.output, "report.html").read_text()


def test_lines_of_several_stages_say_whose_they_are() -> None:
    blocks = {"a": Block("A", "", lines=("x",)), "b": Block("B", "", lines=("y", "z")), "c": Block("C", "")}
    assert list(report._lines(blocks)) == ["a: x", "b: y", "b: z"]


def test_no_stage_is_named_in_the_report() -> None:
    for file in ("report.py", "report.html"):
        text = Path(report.__file__).with_name(file).read_text()
        assert not [name for name in COMMANDS if f'"{name}"' in text or f".{name}" in text]
