"""Two captioners over Ray, from images to experts' kappa, and again after a crash."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.stand_in_engine import TEXT, StandIn, model_directory
from dermray import cli, manifest
from dermray.captioning import choose
from dermray.captioning import run as captioning
from dermray.captioning.audit.experts import order
from dermray.captioning.settings import RemoteConfig
from dermray.records import read_columns
from tests.captioning.comparison.test_images import ingested, rows

IMAGES = 16


class Host(StandIn):
    """A stand-in for engine and endpoint, which says other words over each: what is tested is not the engine."""

    def prepared(self, model: str, host: Any) -> Any:
        if not isinstance(host, RemoteConfig):
            return self.answer
        return lambda rows, ask: self.answer(rows, ask).map(lambda row: row | {"text": f"Seen. {TEXT}"})


class Refusing(StandIn):
    """No captioner may be asked any more."""

    def prepared(self, model: str, host: Any) -> Any:
        raise ConnectionError("asked again")


@pytest.mark.slow
def test_a_comparison_from_images_to_kappa(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_directory(str(tmp_path))
    source = ingested(tmp_path / "ingest", [rows()])
    captioners = {
        "here": {"captioner": model, "engine": {"cpus": 0.5}},
        "there": {"remote": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}, "sampling": {"max_tokens": 64}},
    }
    command = ["compare-captioners", "--config", "compare-captioners/nano", f"rows={source}", f"output={tmp_path}/c",
               f"captioners={json.dumps(captioners)}", "each={metadata: []}", f"images={IMAGES}"]  # fmt: skip

    def fails_at_the_second(config: Any) -> Any:
        if config.remote is not None:
            raise ConnectionError("the endpoint went")
        return whole(config)

    whole = captioning.run
    monkeypatch.setattr(choose, "prepared", Host().prepared)
    monkeypatch.setattr(captioning, "run", fails_at_the_second)
    with pytest.raises(SystemExit):
        cli.main(command)
    first = manifest.read(f"{tmp_path}/c/captions/here", "caption")
    monkeypatch.setattr(captioning, "run", whole)
    cli.main(command)
    assert manifest.read(f"{tmp_path}/c/captions/here").manifest.started == first.manifest.started, "asked once"
    said = capsys.readouterr().out
    assert f"there: {IMAGES} of {IMAGES} images captioned" in said and "here (abc)" in said and "send experts" in said

    found = manifest.read(f"{tmp_path}/c/audit", "audit-captions")
    assert found.manifest.metrics["captioners"].keys() == {"here (abc)", "there (abc)"}
    page = Path(found.data, "compare.html").read_text()
    assert page.count("<section") == IMAGES
    assert "captions/here" not in page and "here (abc)" not in page, "experts do not see which is which"
    there = manifest.read(f"{tmp_path}/c/captions/there")
    ids = read_columns(f"{there.data}/rows", ["sample_id"])["sample_id"].to_pylist()

    (tmp_path / "c" / "experts").mkdir()
    rng = np.random.default_rng(0)
    for expert in ("ada", "bob"):
        grades = {s: [2 if c == 0 else int(rng.integers(0, 2)) for c in order(s, 2, 0)] for s in ids}
        saved = {"expert": expert, "seed": 0, "grades": grades}
        (tmp_path / "c" / "experts" / f"{expert}.json").write_text(json.dumps(saved))
    monkeypatch.setattr(choose, "prepared", Refusing().prepared)
    cli.main(command)
    [graded] = (tmp_path / "c").glob("graded-*")
    agreed = manifest.read(str(graded), "audit-captions").manifest.metrics["experts"]
    assert agreed["mean_grade"]["ada"]["here (abc)"] == 2.0 > agreed["mean_grade"]["ada"]["there (abc)"]
    assert agreed["agreement"][0]["captions"] == 2 * IMAGES and 0 < agreed["agreement"][0]["kappa"] < 1
    assert "ada and bob: kappa 0." in capsys.readouterr().out


def test_all_captioners_are_asked_before_the_first_one_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(config: Any) -> None:
        raise AssertionError("a captioner was started")

    monkeypatch.setattr(captioning, "run", never)
    monkeypatch.setattr(choose, "prepared", Refusing().prepared)
    source = ingested(tmp_path / "ingest", [rows()])
    model = model_directory(str(tmp_path))
    with pytest.raises(SystemExit):
        cli.main(["compare-captioners", "--config", "compare-captioners/nano", f"rows={source}",
                  f"output={tmp_path}/c", f"each.captioner={model}", f"images={IMAGES}"])  # fmt: skip
    assert "asked again" in capsys.readouterr().err


def test_answers_to_another_page_are_refused_before_anyone_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text('{"name": "ada"}')
    with pytest.raises(SystemExit):
        cli.main(["compare-captioners", "--config", "compare-captioners/nano", f"output={tmp_path}/c",
                  f"expert_answers=[{tmp_path}/a.json]"])  # fmt: skip
    assert "expected the JSON file that the comparison page saves" in capsys.readouterr().err
