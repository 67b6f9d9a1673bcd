"""A comparison with nothing in the place of engines and endpoint: two captioners that vLLM hosts, and its server."""

import json
from pathlib import Path

import pytest

from dermray import manifest
from dermray.config import validate
from dermray.datasets import ingest
from dermray.records import read_columns
from tests.conftest import call_cli
from tests.quickstart import SERVED_KEY

IMAGES = 24


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(3000)  # the first test waits for the quickstart
def test_two_hosted_captioners_and_an_endpoint(
    nano_captioner: str,
    vllm_server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SERVED_KEY)
    source = {"source": "phantom", "count": 80, "size": 64}
    rows = ingest.run(validate(ingest.IngestConfig, {"output": f"{tmp_path}/ingest", "sources": [source]})).uri
    captioners = {
        "plain": {"captioner": nano_captioner},
        "labelled": {"captioner": nano_captioner, "prompt_set": "abc-label"},
        "endpoint": {"remote": {"base_url": vllm_server, "model": "nano"}},
    }
    each = {"metadata": [], "engine": {"enforce_eager": True, "kv_cache_gib": 0.125}}
    output = tmp_path / "compare"
    code, said, error = call_cli(
        capsys, "compare-captioners", "--config", "compare-captioners/nano", f"rows={rows}", f"output={output}",
        f"captioners={json.dumps(captioners)}", f"each={json.dumps(each)}", f"images={IMAGES}",
    )  # fmt: skip
    assert code == 0, error
    answers = {}
    for name in captioners:
        found = manifest.read(f"{output}/captions/{name}", "caption")
        table = read_columns(found.row_files(), ["sample_id", "answer"]).sort_by("sample_id")
        answers[name] = dict(zip(*table.to_pydict().values(), strict=True))
        assert len(answers[name]) == IMAGES and f"{name}: " in said
    assert answers["plain"] == answers["endpoint"] != answers["labelled"], "one model, hosted here and served there"
    audit = manifest.read(f"{output}/audit", "audit-captions")
    assert len(audit.manifest.metrics["captioners"]) == 3
    page = Path(audit.data, "compare.html").read_text()
    assert page.count("<section") == IMAGES and page.count('class="answer"') == 3 * IMAGES
