"""Every number that is read out of a real run is the one that its stage wrote."""

import csv
from pathlib import Path

import pytest

from dermray import manifest
from dermray.papers.comparison import compare
from dermray.papers.measured import Measured
from dermray.papers.ours import READ, measured
from dermray.papers.published import PAPERS, read
from dermray.pipeline import COMMANDS
from tests.papers.results import finished, one
from tests.quickstart import Quickstart


def test_results_are_read_by_stage_whatever_their_name() -> None:
    results = {"drawn twice": finished("generate", "g", ok=7), "words": finished("audit-captions", "a")}
    [only] = measured(results)
    assert (only.value, only.where["instance"]) == (7, "drawn twice")


def test_each_stage_of_which_a_paper_has_numbers_is_a_stage_that_is_read() -> None:
    asked = {cell.ours["stage"] for name in PAPERS for cell in read(name).cells() if cell.ours}
    assert asked == set(READ) and asked <= COMMANDS.keys()


@pytest.mark.slow
def test_a_quickstarts_numbers(quickstart: Quickstart) -> None:
    results = {path.parent.name: manifest.read(str(path.parent))
               for path in sorted(quickstart.directory.glob("*/manifest.json"))}  # fmt: skip
    found = measured(results)
    by_stage: dict[str, list[Measured]] = {}
    for each in found:
        by_stage.setdefault(each.where["stage"], []).append(each)
    assert by_stage.keys() == {"ingest", "generate", "evaluate", "sweep"}
    rows = results["ingest"].manifest.rows
    assert one(found, stage="ingest", metric="images", source="phantom", label="all").value == rows.ok
    labels = results["ingest"].manifest.metrics["labels"]
    assert one(found, stage="ingest", metric="images", source="phantom", label="malignant").value == labels["malignant"]
    assert one(found, stage="generate").value == results["generate"].manifest.rows.ok

    for line in csv.DictReader(Path(results["evaluate"].data, "table.csv").read_text().splitlines()):
        names = {"source": line["source"], "metric": line["metric"], "group": line["group"] or "all",
                 "attribute": line["attribute"] or "all"}  # fmt: skip
        rule = {"rule": line["rule"]} if line["rule"] else {}
        same = one(by_stage["evaluate"], **names, **rule)
        assert (same.value is None) == (not line["value"])
        if same.value is not None:
            assert same.value == float(line["value"])
    for line in csv.DictReader(Path(results["sweep"].data, "table.csv").read_text().splitlines()):
        at = {"role": line["role"], "ratio": f"{float(line['ratio']):g}", "test_set": line["test_set"]}
        for metric, of in (("auc", "all"), ("accuracy", "all"), ("recall", "malignant"), ("f1", "malignant")):
            same = one(by_stage["sweep"], **at, **{"class": of}, metric=metric)
            assert same.value == pytest.approx(float(line[metric]))
    families = {each.setting.generator for each in by_stage["sweep"] if each.where.get("role") == "mixed"}
    assert families == {results["train"].manifest.config["family"]}
    told = [row for name in PAPERS for row in compare(read(name), found, "nano") if row.ours]
    assert told and not any(row.comparable for row in told)
    assert all(any("images of phantom" in reason for reason in row.reasons) for row in told
               if row.cell.setting.data)  # fmt: skip
