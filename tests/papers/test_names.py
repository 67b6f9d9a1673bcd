"""Where a paper's file says that ours are, ours can be: a misspelt name would leave a row empty for ever."""

from pathlib import Path

import pytest

from dermray.papers.measured import Measured
from dermray.papers.ours import measured
from dermray.papers.published import PAPERS, read
from dermray.vlm.vqa.told import HEADLINES
from tests.classification import made_rows
from tests.papers.results import finished, lineage
from tests.papers.stages import test_evaluate, test_reader_study, test_sweep
from tests.vlm.instruct.test_statistics import ROWS, counted

analysis = test_sweep.analysis  # the fixture


@pytest.fixture
def emitted(analysis: dict[str, object], tmp_path: Path) -> list[Measured]:
    """Numbers of every stage that is read."""
    cell = {"n": 5, "value": 0.5, "low": None, "high": None}
    ingest = made_rows.result(f"{tmp_path}/i", "ingest", made_rows.phantoms(3))
    ingest.manifest.config["sources"] = [{"source": "phantom"}]
    results = lineage() | test_reader_study.results() | {
        "ingest": ingest,
        "pairs": finished("instruct", "p", {"rows": "i"}, instruct={"statistics": counted(ROWS)}),
        "tuned": finished("tune-vlm", "v", {"rows": "p"}),
        "vqa": finished("vqa", "q", {"rows": "i"}, vqa={"measures": {"a": dict.fromkeys(HEADLINES, cell)}}),
        "sweep": test_sweep.swept(analysis),
        "evaluate": test_evaluate.evaluated(),
    }  # fmt: skip
    return measured(results)


def test_every_name_that_is_asked_for_is_given(emitted: list[Measured]) -> None:
    unknown = []
    for name in PAPERS:
        for cell in (cell for cell in read(name).cells() if cell.ours):
            of_stage = [each.where for each in emitted if each.where["stage"] == cell.ours["stage"]]
            keys = {key for where in of_stage for key in where}
            metrics = {where["metric"] for where in of_stage}
            if not cell.ours.keys() <= keys or not set(cell.ours["metric"].split("|")) <= metrics:
                unknown.append((name, cell.key, cell.ours))
    assert unknown == []


@pytest.mark.parametrize(("stage", "key"), [("sweep", "role"), ("reader-study analyse", "subset"),
                                            ("reader-study analyse", "question"), ("ingest", "label"),
                                            ("reader-study build", "origin")])  # fmt: skip
def test_every_word_of_a_closed_list_is_one_of_it(stage: str, key: str, emitted: list[Measured]) -> None:
    given = {each.where[key] for each in emitted if each.where["stage"] == stage and key in each.where}
    asked = {word for name in PAPERS for cell in read(name).cells() if cell.ours.get("stage") == stage
             for word in cell.ours.get(key, "").split("|") if word}  # fmt: skip
    assert asked and asked <= given
