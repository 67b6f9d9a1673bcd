"""The stage against vLLM: guided decoding makes a model that never saw JSON answer in it, question by question."""

import json
import re
from pathlib import Path

import pytest

from dermray.config import load, preset
from dermray.records import read_columns
from dermray.vlm.instruct.run import InstructConfig, run
from tests.classification import made_rows
from tests.quickstart import SERVED_KEY

pytestmark = pytest.mark.timeout(3000)  # the first test waits for the quickstart


@pytest.mark.slow
def test_the_nano_captioner_answers_in_json(vllm_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SERVED_KEY)
    rows = made_rows.result(f"{tmp_path}/ingest", "ingest", made_rows.phantoms(24)).uri
    endpoint = json.dumps({"base_url": vllm_server, "model": "nano"})
    given = [f"output={tmp_path}/o", f"rows={rows}", f"remote={endpoint}", "captioner=null"]
    result = run(load(InstructConfig, preset("instruct/nano"), given))
    found = read_columns(result.row_files(), ["answer", "pairs", "finish_reason", "status"]).to_pylist()
    assert len(found) == 24 and {row["finish_reason"] for row in found} == {"stop"}
    for row in found:
        said = json.loads(row["answer"])
        assert list(said) == ["general", "specific"], "in the order of the schema, without others"
        assert all(re.fullmatch(r"[A-Za-z0-9 ,;:()-]{1,119}\.", answer) for answer in said.values())
        assert [pair["answer"] for pair in row["pairs"]] == [answer.strip() for answer in said.values()]
        assert (row["status"] == "ok") == any(pair["status"] == "ok" for pair in row["pairs"])
    assert any(row["status"] == "ok" for row in found)  # most of what such a model says is of no use
