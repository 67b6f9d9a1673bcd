"""What a run cannot be without is told at once, and a finished stage needs nothing any more."""

from pathlib import Path
from typing import Any

import pytest

from dermray import manifest, pipeline
from dermray.config import Config, ConfigError, validate
from dermray.manifest import Rows
from dermray.pipeline import PipelineConfig
from dermray.planning.required import require


class Nothing(Config):
    output: str


def missing_of(output: Path, **stages: Any) -> str:
    config = validate(PipelineConfig, {"output": str(output), "stages": stages})
    graph = pipeline.load(config)
    try:
        require(config, graph, graph)
    except ConfigError as error:
        return str(error)
    return ""


def test_weights_and_earlier_results_are_asked_for_and_those_of_the_run_are_not(tmp_path: Path) -> None:
    stages = {
        "ingest": {"sources": [{"source": "phantom"}]},
        "caption": {"rows": {"from": "ingest"}, "captioner": f"{tmp_path}/llava"},
        "evaluate": {"rows": {"from": "caption"}, "synthetic": f"{tmp_path}/old/generate"},
    }
    told = missing_of(tmp_path / "run", **stages)
    assert f"stages.caption.captioner={tmp_path}/llava: not there; make it first, or correct it" in told
    assert f"stages.evaluate.synthetic={tmp_path}/old/generate: not there" in told and "ingest" not in told
    (tmp_path / "llava").mkdir()
    (tmp_path / "old" / "generate").mkdir(parents=True)
    assert missing_of(tmp_path / "run", **stages) == ""


def test_a_hub_s_weights_are_fetched_when_they_are_used(tmp_path: Path) -> None:
    stages = {
        "ingest": {"sources": [{"source": "phantom"}]},
        "caption": {"rows": {"from": "ingest"}, "captioner": "nobody/nothing"},
    }
    assert missing_of(tmp_path, **stages) == ""


@pytest.mark.parametrize("there", ["", "pad", "pad/metadata.csv"])
def test_a_source_needs_its_path_and_its_table(tmp_path: Path, there: str) -> None:
    if there:
        place = tmp_path / there
        place.parent.mkdir(exist_ok=True)
        place.touch() if place.suffix else place.mkdir()
    source = {"source": "pad_ufes_20", "path": f"{tmp_path}/pad"}
    told = missing_of(tmp_path / "run", ingest={"sources": [source]})
    assert ("metadata.csv is not there" in told) == (there == "pad")
    assert (f"{tmp_path}/pad is not there" in told) == (there == "")
    assert ("stages.ingest.sources.0.path=PATH" in told) == ("metadata.csv" not in there)


def test_a_finished_ingest_needs_its_images_no_more(tmp_path: Path) -> None:
    stages = {"ingest": {"sources": [{"source": "ddi", "path": f"{tmp_path}/gone"}]}}
    assert "ddi: " in missing_of(tmp_path / "run", **stages)
    with manifest.work("ingest", f"{tmp_path}/run/ingest", Nothing(output="o"), {}) as work:
        work.commit(Rows(rows_in=0, ok=0, rejected=0, failed=0), 0)
    assert missing_of(tmp_path / "run", **stages) == ""
