"""What a user gets wrong is said before Ray starts."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.stand_in_engine import StandIn
from dermray import cluster
from dermray.captioning import choose
from dermray.captioning.settings import RemoteConfig
from dermray.config import ConfigError, validate
from dermray.vlm.vqa.run import run
from dermray.vlm.vqa.settings import VqaConfig
from tests.conftest import call_cli
from tests.vlm.vqa.results import instructed, made, phantoms

JUDGE = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "key_variable": "NO_SUCH_KEY"}
REAL = choose.prepared


def settings(tmp_path: Path, **more: Any) -> VqaConfig:
    one = {"name": "one", "captioner": str(tmp_path / "model")}
    return validate(VqaConfig, {"output": f"{tmp_path}/vqa", "rows": "r", "captioners": [one]} | more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"questions": ["malignant", "shape"]}, r"questions=\['shape'\]: expected names out of"),
        ({"questions": ["malignant", "malignant"]}, "expected each once"),
        ({"text_metrics": ["meteor"]}, "text_metrics.0.*bleu"),
        (
            {"questions": ["malignant"], "text_metrics": ["bleu"]},
            "bleu: needs references, which only the question 'pairs'",
        ),
        ({"questions": ["malignant"], "judge": JUDGE}, "judge: needs references"),
        ({"text_metrics": ["bertscore"]}, "give both bertscore and the encoder"),
        ({"bertscore_model": "m"}, "give both bertscore and the encoder"),
        ({"expert_grades": ["x.csv"]}, "give judge too"),
        ({"captioners": []}, "captioners"),
        ({"captioners": [{"name": "one"}]}, "give either captioner .* or remote"),
        ({"captioners": [{"name": "one", "captioner": "a"}, {"name": "one", "captioner": "b"}]}, "expected each once"),
        ({"sampling": {"max_tokens": 512}}, "expected less than the engine's max_model_len=512 for 'one'"),
        (
            {"captioners": [{"name": "one", "captioner": "a/b"}], "engine": {"trust_remote_code": True}},
            "expected engine.revision to be a commit",
        ),
    ],
)
def test_a_config(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(tmp_path, **more)


@pytest.fixture
def no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's directory; and a Ray that must not be started."""

    def refuse(*_: Any) -> None:
        raise AssertionError("Ray was started")

    def prepared(model: str, host: Any) -> Any:
        return REAL(model, host) if isinstance(host, RemoteConfig) else StandIn().answer

    monkeypatch.setattr(cluster, "connect", refuse)
    monkeypatch.setattr(choose, "prepared", prepared)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"questions": ["malignant", "diagnosis"]},
            r"questions=\['diagnosis'\]: none of 4 rows .* has the truth for it",
        ),
        ({"questions": ["pairs"]}, r"questions=\['pairs'\]: none of 4 rows"),
        ({"text_metrics": ["bleu"]}, "bleu: needs references, and none of 4 rows .* has question-answer pairs"),
        ({"split": "val"}, "no usable row in split=val"),
        ({"rows": "no/such/place"}, "does not exist; run the stage before first"),
        ({"captioners": [{"name": "one", "captioner": "./none"}]}, "captioner=./none: no such directory"),
    ],
)
def test_rows_that_cannot_answer(no_ray: None, tmp_path: Path, more: dict[str, Any], message: str) -> None:
    source = made(tmp_path / "ingest", "ingest", phantoms(4))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(settings(tmp_path, **{"rows": source} | more))


def test_a_result_of_another_kind(no_ray: None, tmp_path: Path) -> None:
    source = made(tmp_path / "predict", "predict", phantoms(2))
    with pytest.raises(ValueError, match="result of stage 'predict', expected one of ingest, caption, instruct"):
        run(settings(tmp_path, rows=source))


def test_a_judge_without_a_key_and_experts_of_another_run(no_ray: None, tmp_path: Path) -> None:
    source = instructed(tmp_path / "instruct", 4)
    with pytest.raises(ValueError, match="key_variable=NO_SUCH_KEY: not set"):
        run(settings(tmp_path, rows=source, judge=JUDGE))
    grades = tmp_path / "ada.csv"
    grades.write_text("captioner,answer_id,grade\nanother,x/pair-0,right\n")
    with pytest.raises(ValueError, match=r"expert_grades of ada: 1 of 1 grades are of no answer of this run"):
        run(settings(tmp_path, rows=source, judge=JUDGE, expert_grades=[str(grades)]))
    with pytest.raises(AssertionError, match="Ray was started"):  # and what is right gets that far
        run(settings(tmp_path, rows=source))


def test_from_the_command_line(no_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, model = made(tmp_path / "ingest", "ingest", phantoms(4)), f"captioners.0.captioner={tmp_path}/model"
    base = ["vqa", "--config", "vqa/nano", f"rows={source}", model, f"output={tmp_path}/vqa"]
    code, _, error = call_cli(capsys, *base, "split=val")
    assert code == 1 and "no usable row in split=val; give another split" in error
    code, _, error = call_cli(capsys, *base, "questions=[shape]")
    assert code == 2 and "questions=['shape']: expected names out of" in error
