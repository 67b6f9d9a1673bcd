"""A run's config: what is wired wrong is refused before anything starts, and what is right has an order."""

from pathlib import Path
from typing import Any

import pytest

from dermray.config import ConfigError, load, preset, validate
from dermray.pipeline import Graph, PipelineConfig
from dermray.pipeline import load as graph_of
from dermray.pipeline.graph import ancestors, chosen, levels

INGEST: dict[str, Any] = {"sources": [{"source": "phantom"}]}
CAPTION: dict[str, Any] = {"rows": {"from": "ingest"}, "captioner": "weights/llava"}
LOOP = {"steps": 1}


def run_of(**stages: dict[str, Any]) -> Graph:
    return graph_of(validate(PipelineConfig, {"output": "/run", "stages": stages}))


def train(rows: str = "caption", **fields: Any) -> dict[str, Any]:
    return {"stage": "train", "rows": {"from": rows}, "loop": LOOP} | fields


def two_branches() -> Graph:
    """Written in an order in which they cannot run."""
    return run_of(
        compared={"stage": "evaluate", "rows": {"from": "caption"},
                  "synthetic": {"few": {"from": "small_images"}, "many": {"from": "large_images"}}},
        small_images={"stage": "generate", "generator": {"from": "small"}, "rows": {"from": "caption"}},
        large_images={"stage": "generate", "generator": {"from": "large"}, "rows": {"from": "caption"}},
        small=train(), large=train(flips=False), caption=CAPTION, ingest=INGEST,
    )  # fmt: skip


def test_inputs_are_filled_in_wherever_they_stand() -> None:
    graph = two_branches()
    assert graph["compared"].config.synthetic == {"few": "/run/small_images", "many": "/run/large_images"}
    assert graph["compared"].inputs == {
        "rows": "caption", "synthetic.few": "small_images", "synthetic.many": "large_images"
    }  # fmt: skip
    assert graph["small"].stage == "train" and graph["small"].output == "/run/small"
    assert (graph["small"].config.rows, graph["large"].config.flips) == ("/run/caption", False)


def test_of_those_that_can_run_the_one_written_first_does() -> None:
    graph = two_branches()
    assert list(graph) == ["ingest", "caption", "small", "small_images", "large", "large_images", "compared"]
    assert levels(graph) == [
        ["ingest"],
        ["caption"],
        ["small", "large"],
        ["small_images", "large_images"],
        ["compared"],
    ]


def test_until_takes_what_it_needs_and_only_takes_itself(tmp_path: Path) -> None:
    graph = two_branches()
    assert chosen(graph, until=["small_images"]) == ["ingest", "caption", "small", "small_images"]
    assert ancestors(graph, ["ingest"]) == {"ingest"} and chosen(graph) == list(graph)
    assert chosen(graph, only=["large"], until=["caption"]) == ["ingest", "caption", "large"]
    with pytest.raises(ConfigError, match=r"--only small: its input caption is not finished .* give --until small"):
        chosen(graph, only=["small"])
    for option in ("only", "until"):
        with pytest.raises(
            ConfigError, match=f"--{option} smal: this run has no such stage; there are: ingest, caption"
        ):
            chosen(graph, **{option: ["smal"]})


TUNE: dict[str, Any] = {"stage": "tune-vlm", "rows": "r", "loop": LOOP}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"flux": {"rows": {"from": "ingest"}}}, "stages.flux: no stage is named so; give its stage, one of inge"),
        ({"flux": train() | {"stage": "trian"}}, r"stages.flux.stage='trian': no stage, one of ingest, captioner"),
        ({"a/b": INGEST}, "stages.a/b: expected a name of letters, digits"),
        ({"ingest": INGEST, "caption": CAPTION | {"rows": {"from": "ingset"}}},
         r"stages.caption.rows=\{from: ingset\}: this run has no stage named 'ingset'; there are: ingest, caption"),
        ({"caption": CAPTION | {"rows": {"from": ""}}}, "stages.caption.rows.from='': expected the name of a stage"),
        ({"ingest": INGEST, "train": train("ingest")},
         r"stages.train.rows=\{from: ingest\}: a result of stage 'ingest'; expected one of 'caption'; in this run: n"),
        ({"ingest": INGEST, "said": {"stage": "caption"} | CAPTION, "train": train("ingest")},
         r"expected one of 'caption'; in this run: \{from: said\}"),
        ({"ingest": INGEST, "caption": CAPTION | {"captioner": {"from": "ingest"}}},
         "a result of stage 'ingest'; expected one of 'captioner' or 'tune-vlm'; in this run: none"),
        ({"ingest": INGEST, "caption": CAPTION | {"prompt_set": {"from": "ingest"}}},
         "this field takes no stage's result; those that do are: rows, captioner, engine.lora"),
        ({"ingest": INGEST, "caption": CAPTION | {"rows": "ingest"}},
         r"stages.caption.rows=ingest: a path, and the name of a stage of this run; write \{from: ingest\}"),
        ({"ingest": INGEST, "again": INGEST | {"stage": "ingest", "output": "/run/ingest"}},
         "stages.again.output=/run/ingest: also the output of stages.ingest; give each stage an output of its own"),
        ({"ingest": INGEST | {"output": "/run/"}}, "also the output of the run itself"),
        ({one: TUNE | {"base": {"from": other}} for one, other in ("ab", "bc", "ca")},
         r"stages: a cycle, so none of these can be first: . reads \{from: .\}; . reads \{from: .\}; . reads"),
        ({"a": TUNE | {"base": {"from": "a"}}}, r"a cycle.* a reads \{from: a\}"),
        ({"ingest": None}, "stages: expected one stage or more"),
        ({"ingest": {"sources": [{"source": "phantom", "count": 0}]}}, r"stages.ingest:\n  sources.0.count=0: Input"),
    ],
)  # fmt: skip
def test_what_is_wired_wrong_is_refused(stages: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_of(**stages)


def test_a_cycle_is_told_in_the_direction_in_which_results_are_read() -> None:
    with pytest.raises(ConfigError) as told:
        run_of(a=TUNE | {"base": {"from": "b"}}, b=TUNE | {"base": {"from": "a"}})
    assert "a reads {from: b}" in str(told.value) and "b reads {from: a}" in str(told.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.train.model.image_size=33", "model.image_size=33"),
        (
            "stages.generate.count=60",
            "stages.sweep.synthetic: 60 images will be drawn .*; real_images=50 needs 100 synth",
        ),
        ("stages.captioner=null", r"stages.caption.captioner=\{from: captioner\}: this run has no stage named"),
    ],
)
def test_stages_are_checked_together(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        graph_of(load(PipelineConfig, preset("pipeline/quickstart"), [override]))
