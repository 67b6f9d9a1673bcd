"""`dermray plan` by the command line: what people and programs read, and what is refused."""

import json
import re
from pathlib import Path

import pytest

from dermray import cli
from dermray.config import preset

DOCS = Path(__file__).parents[2] / "docs"
RUN = """
output: runs/x
stages:
  ingest: {sources: [{source: phantom, count: 400}], fractions: {train: 0.5, val: 0.25, test: 0.25}}
  caption: {rows: {from: ingest}, captioner: Qwen/Qwen3-VL-8B-Instruct, engine: {gpus: 1, dtype: bfloat16}}
"""


@pytest.fixture
def run_file(tmp_path: Path) -> str:
    file = tmp_path / "run.yaml"
    file.write_text(RUN)
    return str(file)


def test_for_people(run_file: str, nothing_starts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["plan", run_file, "--gpu", "h200", "--price-per-gpu-hour", "2.50"])
    said = capsys.readouterr().out
    assert "on H200 GPUs, at 2.50 an hour of one. Nothing was started." in said
    assert "caption  at most 400 rows" in said
    assert "Qwen/Qwen3-VL-8B-Instruct  Apache-2.0" in said and "any use         caption" in said
    assert "caption.captioner=Qwen/Qwen3-VL-8B-Instruct: a hub id, of which no copy is here" in said
    assert re.search("tokens read +at most 435,200", said), "32 px a token: 1024 of an image, and 64 of text"
    assert "assumed    rests on an assumption" in said and "measured   counted" not in said


def test_for_programs(run_file: str, nothing_starts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["plan", run_file, "stages.ingest.sources.0.count=100", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [stage["name"] for stage in told["stages"]] == ["ingest", "caption"]
    rows = told["stages"][1]["figures"]["rows"]
    assert (rows["value"], rows["bound"], rows["basis"]) == (100, "at most", "computed")
    assert told["gpu_hours"]["basis"] == "assumed" and told["gpu_hours"]["value"] > 0
    assert (told["price"], told["price_per_gpu_hour"]) == (None, None)
    assert told["licences"][0]["of"] == "phantom" and told["licences"][0]["binds"] == ["ingest", "caption"]
    assert [lack["field"] for lack in told["missing"]] == ["captioner"]


def test_a_stages_own_config(tmp_path: Path, nothing_starts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(preset("caption/llava").read_text())
    cli.main(["plan", str(file), "--stage", "caption", "--rows", "1000"])
    said = capsys.readouterr().out
    assert "1,000" in said and "caption.rows=runs/ingest: not there" in said
    cli.main(["plan", "caption/llava", "--rows", "1000"])
    assert capsys.readouterr().out.splitlines()[2:] == said.splitlines()[2:], "a preset's folder says whose it is"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["caption/llava", "--gpu", "TPU"], "--gpu TPU: expected one of H100, H200"),
        (["caption/llava", "--price-per-gpu-hour", "-1"], "-1: expected a price of at least 0, such as 2.50"),
        (["caption/llava", "--price-per-gpu-hour", "cheap"], "cheap: expected a price of at least 0"),
        (["caption/llava", "--rows", "0"], "0: expected a whole number of at least 1"),
        (["caption/llava", "sampling.max_tokens=many"], "sampling.max_tokens"),
        (["caption/no-such-preset"], "preset 'caption/no-such-preset' not found"),
        (["RUN", "stages.caption.rows={from: nobody}"], "this run has no stage named 'nobody'"),
        (["RUN", "--stage", "paint"], "--stage paint: expected one of ingest, captioner"),
        (["ELSEWHERE"], "neither a run (no `stages`) nor in a stage's folder; give --stage, one of ingest"),
        (["none.yaml"], "config none.yaml: no such file"),
    ],
)  # fmt: skip
def test_what_is_refused(
    arguments: list[str], message: str, run_file: str, tmp_path: Path, nothing_starts: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text("output: runs/caption\nrows: runs/ingest\n")
    given = {"RUN": run_file, "ELSEWHERE": str(elsewhere)}
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", *(given.get(word, word) for word in arguments)])
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_the_quickstart(nothing_starts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its seconds are those that were measured: it is the run that they are of."""
    cli.main(["plan", "pipeline/quickstart"])
    said = capsys.readouterr().out
    assert "about 98  computed  98 s for 370 steps: benchmarks/results/quickstart.md" in said
    assert "total" in said and "Missing here: nothing that the configs name" in said


def test_what_the_page_shows_is_printed(nothing_starts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.search("```text\n(.*?)```", (DOCS / "plan.md").read_text(), re.S)
    options = ["--rows", "57062", "--price-per-gpu-hour", "2.50"]
    cli.main(["plan", "train/dermdit_paper", "model.compat=paper", *options])
    assert shown and shown[1] in capsys.readouterr().out
