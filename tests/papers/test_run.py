"""The stage, over results that are there: what it writes, when it is done already, what it refuses."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from dermray import storage
from dermray.config import ConfigError, validate
from dermray.manifest import Result
from dermray.papers.published import PAPERS, read
from dermray.papers.run import ComparePaperConfig, report_block, run
from dermray.pipeline import PipelineConfig, load
from dermray.pipeline.report import block_of
from tests.classification import made_rows
from tests.conftest import call_cli
from tests.papers.results import finished


def ingested(place: Path) -> str:
    """An ingest of two sources of paper 002."""
    rows = made_rows.phantoms(4, source="ddi", malignant=True) + made_rows.phantoms(2, first=4, source="hiba")
    result = made_rows.result(f"{place}/ingest", "ingest", rows)
    result.manifest.config["sources"] = [{"source": "ddi"}]
    return store(result, place / "ingest")


def store(result: Result, place: Path) -> str:
    storage.write_bytes(f"{place}/manifest.json", result.manifest.model_dump_json().encode())
    return str(place)


def config(place: Path, **results: str) -> ComparePaperConfig:
    given = {"output": f"{place}/out", "paper": "dermaflux", "scale": "paper", "results": results}
    return validate(ComparePaperConfig, given)


def test_it_writes_a_page_a_table_and_a_block(tmp_path: Path) -> None:
    done = run(config(tmp_path, ingest=ingested(tmp_path)))
    metrics, rows = done.manifest.metrics, done.manifest.rows
    assert metrics["counts"] == {"numbers": 78, "read": 58, "with_ours": 8, "comparable": 4}
    assert rows.rows_in == rows.ok == 78, "what cannot be compared is not lost"
    table = storage.read_bytes(storage.join(done.data, "comparison.csv")).decode()
    lines = {line["what"]: line for line in csv.DictReader(io.StringIO(table))}
    told = lines["data DDI, images malignant"]
    assert (told["published"], told["ours"], told["comparable"], told["ours_is"]) == ("171", "4", "True", "ingest, ddi")
    assert "ours are images of ddi, the paper's of mednode" in lines["scale 128 px"]["not_comparable_because"]
    assert lines["data MedNode, images benign"]["not_comparable_because"].endswith(
        "has it; there are results of ddi, hiba"
    )
    page = storage.read_bytes(storage.join(done.data, metrics["page"])).decode()
    block = report_block(done, {})
    assert block.html.strip() in page and block.facts == metrics["counts"] and "paper 002" in block.lines[0]
    again = run(config(tmp_path, ingest=f"{tmp_path}/ingest"))
    assert again.manifest.started == done.manifest.started, "the same results and numbers: nothing to do"


def test_a_result_of_another_stage_is_refused(tmp_path: Path) -> None:
    other = store(finished("predict", "p"), tmp_path / "p")
    with pytest.raises(ValueError, match=r"results\.scores=.*result of stage 'predict'.*expected one of ingest"):
        run(config(tmp_path, scores=other))
    with pytest.raises(FileNotFoundError):
        run(config(tmp_path, ingest=f"{tmp_path}/none"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("changes", "message"), [
    ({"paper": "dermdiff"}, "paper"), ({"scale": "small"}, "scale"), ({"results": {}}, "results"),
])  # fmt: skip
def test_a_wrong_config_is_refused(changes: dict[str, Any], message: str) -> None:
    given = {"output": "o", "paper": "dermdit", "scale": "nano", "results": {"ingest": "i"}}
    with pytest.raises(ConfigError, match=message):
        validate(ComparePaperConfig, given | changes)


def test_the_papers_of_the_config_are_those_that_are_there() -> None:
    assert ComparePaperConfig.model_fields["paper"].annotation.__args__ == PAPERS  # type: ignore[union-attr]  # a Literal
    assert [read(name).paper for name in PAPERS] == list(PAPERS)


def test_it_is_a_stage_of_a_graph_with_a_block_of_its_own(tmp_path: Path) -> None:
    stages: dict[str, dict[str, Any]] = {
        "ingest": {"sources": [{"source": "phantom"}]},
        "beside": {"stage": "compare-paper", "paper": "dermaflux", "scale": "paper",
                   "results": {"ingest": {"from": "ingest"}}},
    }  # fmt: skip
    graph = load(validate(PipelineConfig, {"output": str(tmp_path), "stages": stages}))
    ingested(tmp_path)
    block = block_of(graph["beside"], run(graph["beside"].config))
    assert block.title == "Beside paper 002" and "400,666" in block.html
    wrong = stages | {"beside": stages["beside"] | {"results": {"x": {"from": "beside"}}}}
    with pytest.raises(ConfigError, match="expected one of 'ingest'"):
        load(validate(PipelineConfig, {"output": str(tmp_path), "stages": wrong}))


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ingested(tmp_path)
    code, said, error = call_cli(
        capsys, "compare-paper", "--config", "compare-paper/dermaflux", f"output={tmp_path}/out",
        f"results={{ingest: {place}}}",
    )  # fmt: skip
    assert code == 0, error
    assert "paper 002: 78 numbers, of which 58 could be read; 8 have ours beside them, and 4 can be compared" in said
