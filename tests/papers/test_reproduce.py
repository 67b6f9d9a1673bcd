"""A paper's graph by its name: the scale, the directory that goes with it, and where the data lie."""

from pathlib import Path

import pytest

from dermray import pipeline
from dermray.config import load
from dermray.papers.reproduce import asked_for
from dermray.pipeline import Graph, PipelineConfig
from tests.conftest import call_cli


def graph_of(name: str, scale: str | None = None, data: str | None = None, *overrides: str) -> Graph:
    file, settings = asked_for(name, scale, data, list(overrides))
    return pipeline.load(load(PipelineConfig, file, settings))


@pytest.mark.parametrize(
    ("name", "scale", "place"),
    [
        ("glide", None, "runs/papers/glide_ham10000-nano"),
        ("glide_ham10000", "paper", "runs/papers/glide_ham10000-paper"),
        ("dermasynth", "smoke", "runs/papers/dermasynth-smoke"),
    ],
)
def test_each_scale_has_a_directory_of_its_own(name: str, scale: str | None, place: str) -> None:
    assert {Path(instance.output).parent for instance in graph_of(name, scale).values()} == {Path.cwd() / place}


def test_an_output_of_the_users_own_is_taken() -> None:
    assert graph_of("dermaflux", "smoke", None, "output=/mine")["ingest"].output == "/mine/ingest"


@pytest.mark.parametrize("root", ["/disk/derm", "s3://bucket/derm"])
def test_data_lie_below_another_root(root: str) -> None:
    paths = [given["path"] for given in graph_of("dermaflux", "paper", root)["ingest"].config.sources]
    assert f"{root}/HIBA" in paths and all(path.startswith(f"{root}/") for path in paths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "dermdot"], "reproduce dermdot: expected one of glide, glide_ham10000, dermdit, dermaflux, der"),
        (["reproduce", "dermdit", "scale=paper"], "scale=paper: give --scale paper, by which the output is named too"),
        (["reproduce", "dermdit", "nano"], "nano: give --scale nano"),
        (["reproduce", "dermdit", "--scale="], "scale='': String should have at least 1 character"),
        (["reproduce", "dermdit", "data=/disk"], "data=/disk: give --data /disk"),
        (
            ["reproduce", "dermaflux", "--scale", "photographs", "--data", "/disk"],
            "no path of this run begins with data/",
        ),
        (["reproduce", "dermdit", "--data", ""], "data='': String should have at least 1 character"),
        (
            ["reproduce", "dermdit", "--scale", "huge"],
            "scale=huge: this run has no such scale; there are: paper, nano, photographs, smoke",
        ),
        (["reproduce", "glide", "--only", "evalute"], "--only evalute: this run has no such stage; there are: "),
    ],
)
def test_what_nobody_can_reproduce(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = call_cli(capsys, *arguments)
    assert code == 2 and message in error


def test_missing_data_are_told_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the paper, whose DDI alone is here."""
    for name in ("ddi_metadata.csv", "images/1.png"):
        (tmp_path / "data" / "DDI" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "DDI" / name).touch()
    code, said, error = call_cli(
        capsys, "reproduce", "dermaflux", "--scale", "paper", "--data", str(tmp_path / "data"), f"output={tmp_path}/run"
    )
    assert code == 2 and not (tmp_path / "run").exists() and said == ""
    assert f"{tmp_path}/run: nothing was started, because not all that it needs is there:" in error
    told = [line.strip() for line in error.splitlines()]
    assert len([line for line in told if line.startswith("elsewhere?")]) == 10, "two entries of one data set are one"
    hiba = told.index(f"hiba: {tmp_path}/data/HIBA is not there, or cannot be reached")
    assert "download it from https://api.isic-archive.com" in told[hiba + 1]
    assert "layout: metadata.csv beside the images" in told[hiba + 1]
    assert "stages.ingest.scales.paper.sources.2.path=PATH stages.ingest.scales.paper.sources.3.path=PATH" in error
    assert not any(line.startswith("ddi: ") for line in told)


def test_the_graph_needs_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = call_cli(capsys, "reproduce", "dermaflux", "--scale", "paper", "--graph")
    assert code == 0 and "10 of 10 stages would run" in said
