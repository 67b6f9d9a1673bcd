"""A graph at several scales: which fields a stage has at each, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from dermray.config import ConfigError, load, validate
from dermray.pipeline import PipelineConfig
from dermray.pipeline import load as graph_of

RUN = """
output: /run
scale: nano
notes: [Of phantoms.]
scales: {paper: {}, nano: {notes: [Nano models draw blobs.]}, smoke: {like: nano, notes: [Of four steps.]}}
stages:
  ingest: {sources: [{source: phantom, count: 40}]}
  caption:
    rows: {from: ingest}
    scales:
      paper: {preset: caption/llava}
      nano: {preset: caption/nano, captioner: weights/nano}
  dit:
    stage: train
    rows: {from: caption}
    scales:
      paper: {preset: train/dermdit_paper}
      nano: {preset: train/pixel_dermdit_nano, loop: {steps: 40}}
      smoke: {loop: {steps: 4}}
  images:
    stage: generate
    generator: {from: dit}
    rows: {from: caption}
    scales: {paper: {count: 30000}, nano: null}
"""


def run_at(scale: str | None, tmp_path: Path, *overrides: str) -> PipelineConfig:
    (tmp_path / "run.yaml").write_text(RUN)
    return load(PipelineConfig, tmp_path / "run.yaml", [f"scale={scale or 'null'}", *overrides])


@pytest.mark.parametrize(
    ("scale", "steps", "names"),
    [
        ("nano", 40, ["ingest", "caption", "dit"]),
        ("smoke", 4, ["ingest", "caption", "dit"]),  # like nano, which leaves images out
    ],
)
def test_a_stage_has_its_scale_s_fields_over_its_preset(
    scale: str, steps: int, names: list[str], tmp_path: Path
) -> None:
    graph = graph_of(run_at(scale, tmp_path))
    assert list(graph) == names
    dit = graph["dit"].config
    assert (dit.loop.steps, dit.family, dit.rows) == (steps, "pixel_dermdit", "/run/caption")
    assert dit.loop.batch_size == 32  # of the preset alone
    assert graph["dit"].output == "/run/dit"  # not the preset's


def test_an_override_of_a_stage_holds_at_every_scale(tmp_path: Path) -> None:
    for scale in ("nano", "smoke"):
        assert graph_of(run_at(scale, tmp_path, "stages.dit.loop.steps=9"))["dit"].config.loop.steps == 9


def test_another_scale_is_another_preset(tmp_path: Path) -> None:
    graph = graph_of(run_at("paper", tmp_path))
    assert list(graph) == ["ingest", "caption", "dit", "images"]
    assert graph["dit"].config.family == "dermdit" and graph["images"].config.count == 30000


def test_the_report_says_what_a_scale_means(tmp_path: Path) -> None:
    assert run_at("smoke", tmp_path).remarks == ["Of phantoms.", "Of four steps."], "nano's are not true of it"
    assert run_at("paper", tmp_path).remarks == ["Of phantoms."]


def test_a_preset_s_results_are_this_run_s_to_give(tmp_path: Path) -> None:
    stages: dict[str, Any] = {"caption": {"preset": "caption/nano", "captioner": "weights/nano"}}
    with pytest.raises(ConfigError, match=r"stages\.caption:\n  rows: missing"):
        graph_of(validate(PipelineConfig, {"output": "/run", "stages": stages}))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["scale=null"], "scale: missing; expected one of paper, nano, smoke"),
        (["scale=huge"], "scale=huge: this run has no such scale; there are: paper, nano, smoke"),
        (["scales.nano.like=tiny"], "scales.nano.like=tiny: this run has no such scale"),
        (["scales.nano.like=smoke", "scale=smoke"], "nano.like=smoke: smoke is like nano is like smoke"),
        (
            ["stages.dit.scales={paper: {}}"],
            "stages.dit.scales: lacks scale nano; there are: paper; give stages.dit.scales.nano: its fields, or null",
        ),
        (
            ["stages.dit.scales.smok.loop.steps=1"],
            "stages.dit.scales.smok: this run has no such scale; there are: paper",
        ),
        (["data=/disk"], "data=/disk: no path of this run begins with data/, so this would change nothing"),
        (["data=htp://disk"], "data=htp://disk: expected a local path or an s3:// URI"),
        (["stages.dit.scales=nano"], "stages.dit.scales='nano': expected this stage's fields by scale"),
        (["stages.dit.scales.nano=4"], "stages.dit.scales.nano=4: expected fields, or null"),
        (
            ["stages.dit.preset=generate/nano"],
            "stages.dit.preset='generate/nano': expected one of `dermray presets train`",
        ),
        (["stages.dit.preset=train/none"], "stages.dit.preset: preset 'train/none' not found"),
        (["scale=null", "scales=null"], "scales"),
        (["scale=null", "scales={}"], "stages.caption.scales: this run has no scales"),
    ],
)
def test_scales_that_nobody_can_follow(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        graph_of(run_at("nano", tmp_path, *overrides))
    assert message in str(error.value)
