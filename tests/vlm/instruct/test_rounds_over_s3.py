"""Both rounds in S3, then a retry of what failed: new questions stay unlike those of the result that is kept."""

import json
from typing import Any

import pytest

from benchmarks.stand_in_engine import StandIn
from dermray import manifest, storage
from dermray.captioning import choose
from dermray.config import validate
from dermray.datasets import ingest
from dermray.manifest import Result
from dermray.records import read_columns
from dermray.vlm.instruct.run import run
from dermray.vlm.instruct.self_instruct import KIND, SelfInstructConfig, seeds
from dermray.vlm.instruct.settings import InstructConfig
from dermray.vlm.instruct.similarity import Spelling
from dermray.vlm.instruct.taken import Taken
from tests.conftest import ray_of_its_own, s3_environment
from tests.vlm.instruct.test_second_round import said

IMAGES = 40


class Hesitant(StandIn):
    """Says nothing of a quarter of the images when it is first asked about them."""

    def answer(self, rows: Any, ask: Any) -> Any:
        assert ask.schema is not None
        keys = list(ask.schema["properties"])

        def talk(row: dict[str, Any]) -> dict[str, Any]:
            silent = int(row["sample_id"][:8], 16) % 4 == 0 and not row.get("attempts") and "general" in keys
            answers = {key: "" if silent else said(key, row["sample_id"]) for key in keys}
            return row | {"text": json.dumps(answers)}

        return super().answer(rows, ask).map(talk)


def new_pairs(result: Result) -> list[tuple[str, dict[str, Any]]]:
    """Of a result's own rows, in the order of their ids."""
    rows = read_columns(f"{result.data}/rows", ["sample_id", "pairs"]).sort_by("sample_id").to_pylist()
    return [(row["sample_id"], pair) for row in rows for pair in row["pairs"] if pair["kind"] == KIND]


@pytest.mark.slow
def test_two_rounds_and_a_retry_in_s3(s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "prepared", Hesitant().prepared)
    storage.write_bytes(f"{bucket}/model/config.json", b"{}")
    base = {"rows": f"{bucket}/ingest", "captioner": f"{bucket}/model", "rows_per_block": 16, "self_instruct": {}}
    with ray_of_its_own(**s3_environment(s3_server)):
        source = {"source": "phantom", "count": IMAGES, "size": 16, "broken": 0.0, "duplicates": 0.0}
        ingest.run(validate(ingest.IngestConfig, {"output": f"{bucket}/ingest", "sources": [source]}))
        first = run(validate(InstructConfig, base | {"output": f"{bucket}/first"}))
        retried = {"output": f"{bucket}/again", "retry_failed": f"{bucket}/first"}
        again = run(validate(InstructConfig, base | retried))
    counts = first.manifest.rows
    assert counts.rows_in == IMAGES and 3 < counts.rejected == counts.reasons["rejected: no usable pair: empty answer"]
    assert storage.list_directories(first.data) == ["rows"], "what the rounds held is removed"
    assert again.manifest.rows.ok == again.manifest.rows.rows_in == IMAGES
    silent = read_columns(f"{first.data}/rows", ["sample_id", "status"]).to_pylist()
    asked_again = {row["sample_id"] for row in silent if row["status"] != "ok"}
    new = new_pairs(first), new_pairs(again)
    assert {name for name, _ in new[1]} == asked_again and asked_again.isdisjoint(name for name, _ in new[0])

    measure = Spelling()
    judge = Taken(measure, seeds(SelfInstructConfig()), 10**6)
    for name, pair in [*new[0], *new[1]]:  # of the kept rows first, whatever their ids
        assert pair["reason"] == judge.judge(pair["question"], measure.features([pair["question"]])[0]), name
    assert judge.counts["taken"] > 5 and sum(pair["status"] == "rejected" for _, pair in new[1]) > 3
    told = manifest.read(f"{bucket}/again").manifest.metrics["instruct"]["statistics"]
    assert told["images"] == IMAGES and told["by_kind"][KIND]["pairs"] == 2 * IMAGES, "of both results"
