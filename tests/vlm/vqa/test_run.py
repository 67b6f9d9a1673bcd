"""The whole stage over Ray Data, with a stand-in for captioners whose answers are known: every score by hand."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.stand_in_engine import StandIn
from dermray import manifest
from dermray.captioning import choose
from dermray.captioning.answers import Attributes, phrase
from dermray.captioning.settings import RemoteConfig
from dermray.config import validate
from dermray.records import read_columns
from dermray.vlm.vqa import run
from dermray.vlm.vqa.settings import VqaConfig
from tests.captioning.endpoint import Endpoint, completion, serving
from tests.vlm.vqa.results import REFERENCE, instructed, phantoms

IMAGES = 16
QUESTIONS = ["malignant", "asymmetry", "border", "colours", "describe", "pairs"]
REAL = choose.prepared


def told(row: dict[str, Any]) -> str:
    """All that is true of a phantom."""
    seen = Attributes(row["true_asymmetry"], row["true_border_irregular"], tuple(row["true_colours"]), row["skin_tone"])
    return phrase(seen)


def before(row: dict[str, Any]) -> str:
    """Yes to everything, a refusal about references, and a patient in each description."""
    if row["reference"]:
        return "I'm sorry, I can't help with medical images."
    return "A 45-year-old woman with a red patch." if row["question_id"] == "describe" else "Yes."


def after(row: dict[str, Any]) -> str:
    """The truth."""
    return row["reference"] or (told(row) if row["question_id"] == "describe" else row["truth"].capitalize() + ".")


@dataclass(frozen=True)
class Knowing(StandIn):
    """Answers as its model's name says; breaks at `breaks` of a model's blocks, until that file is there."""

    breaks: str | None = None

    def prepared(self, model: str, host: Any) -> Any:
        if isinstance(host, RemoteConfig):
            return REAL(model, host)
        say, breaks = (after if model.endswith("after") else before), self.breaks

        def answer(asked: Any, ask: Any) -> Any:
            def fill(row: dict[str, Any]) -> dict[str, Any]:
                if breaks and say is after and row["question_id"] == "describe" and not Path(breaks).exists():
                    Path(breaks).touch()
                    raise RuntimeError("the engine broke")
                return row | {"text": say(row)}

            return self.answer(asked, ask).map(fill)

        return answer


class Judge(Endpoint):
    """Grades by the letter."""

    def reply(self, body: str) -> None:
        request = json.loads(body)
        text = request["messages"][0]["content"][1]["text"]
        self.count(text)
        assert request["response_format"]["json_schema"]["schema"]["properties"]["grade"]
        said = text.split("Answer to be graded: ")[1].split("\n")[0]
        self.send(
            200, completion(json.dumps({"why": "By the letter.", "grade": ["wrong", "right"][said == REFERENCE]}))
        )


def model(directory: Path, name: str) -> str:
    place = directory / name
    place.mkdir()
    (place / "config.json").write_text("{}")
    return str(place)


def settings(tmp_path: Path, source: str, **more: Any) -> VqaConfig:
    captioners = [{"name": name, "captioner": str(tmp_path / name)} for name in ("before", "after")]
    return validate(VqaConfig, {"output": f"{tmp_path}/vqa", "rows": source, "captioners": captioners} | more)


@pytest.mark.slow
def test_before_and_after_with_a_judge_after_a_crash(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = instructed(tmp_path / "instruct", IMAGES)
    model(tmp_path, "before"), model(tmp_path, "after")
    monkeypatch.setattr(choose, "prepared", Knowing(breaks=str(tmp_path / "broken")).prepared)
    held_out = phantoms(IMAGES)[:IMAGES]
    grades = tmp_path / "ada.csv"
    lines = [f"after,{row['sample_id']}/pair-0,{'right' if i % 4 else 'wrong'}" for i, row in enumerate(held_out)]
    grades.write_text("\n".join(["captioner,answer_id,grade", *lines]))
    with serving(Judge) as address:
        more = {"judge": {"base_url": address, "model": "m"}, "expert_grades": [str(grades)]}
        config = settings(tmp_path, source, questions=QUESTIONS, rows_per_block=16, **more)
        with pytest.raises(Exception, match="the engine broke"):
            run.run(config)
        capsys.readouterr()
        result = run.run(config)
        assert list(Judge.tries.values()) == [IMAGES], "one request an answer of 'after'; refusals are not shown"
    assert f"{IMAGES * len(QUESTIONS)} answers of answers-0 are written; going on" in capsys.readouterr().out
    check_answers(result, held_out)
    check_scores(result.manifest.metrics["vqa"], held_out)
    page = Path(result.data, "page.html").read_text()
    assert page.count("<figure>") == 12 and REFERENCE in page and "states age, sex" in page and "refusal" in page
    assert json.loads(Path(result.data, "scores.json").read_text()) == result.manifest.metrics["vqa"]
    assert "after - before: closed questions" in result.manifest.metrics["summary"]
    assert not Path(result.data, "passes").exists()
    assert run.run(config).manifest == result.manifest, "found again, and nothing done"


def check_answers(result: manifest.Result, held_out: list[dict[str, Any]]) -> None:
    """Every question once of every captioner, the rejected pair and the training image not at all."""
    table = read_columns(result.row_files(), ["answer_id", "captioner", "status", "attempts"])
    expected = {
        (captioner, f"{row['sample_id']}/{'pair-0' if name == 'pairs' else name}"): 1
        for captioner in ("before", "after")
        for row in held_out
        for name in QUESTIONS
    }
    assert Counter(zip(table["captioner"].to_pylist(), table["answer_id"].to_pylist(), strict=True)) == expected
    assert set(table["attempts"].to_pylist()) == {1}
    counts = result.manifest.metrics["vqa"]["rows"]
    assert counts["before"]["reasons"] == {"rejected: refusal": IMAGES} and counts["after"]["ok"] == 6 * IMAGES


def check_scores(found: dict[str, Any], held_out: list[dict[str, Any]]) -> None:
    one, other = found["measures"]["before"], found["measures"]["after"]
    shares = {
        "malignant": sum(row["malignant"] for row in held_out) / IMAGES,
        "asymmetry": sum(row["true_asymmetry"] for row in held_out) / IMAGES,
        "border": sum(row["true_border_irregular"] for row in held_out) / IMAGES,
        "colours": 0.0,
    }
    colours = Counter(tuple(row["true_colours"]) for row in held_out).most_common(1)[0][1] / IMAGES
    for name, share in shares.items():
        assert (one[f"closed: {name}"]["value"], one[f"closed: {name}"]["n"]) == (pytest.approx(share), IMAGES)
        floor = colours if name == "colours" else max(share, 1 - share)
        assert one[f"closed: {name}"]["floor"] == other[f"closed: {name}"]["floor"] == pytest.approx(floor)
    mean = sum(shares.values()) / 4
    for measure in ("closed questions", "exact match", "token F1"):
        assert (one[measure]["value"], other[measure]["value"]) == (pytest.approx(mean), 1.0)
        assert one[measure]["n"] == other[measure]["n"] == 4 * IMAGES
    red = sum(row["true_colours"] == ["red"] for row in held_out) / IMAGES
    assert one["described attributes"]["value"] == pytest.approx(red / 4)
    assert one["closed: none of the answers"]["value"] == 0.25, "yes is no colour"
    for measure in ("described attributes", "described: colours", "described: skin_tone", "BLEU", "ROUGE-L"):
        assert other[measure]["value"] == pytest.approx(1.0)
    assert one["BLEU"]["value"] == one["ROUGE-L"]["value"] == 0.0
    stated = one["states what no image shows"]
    assert (stated["value"], stated["n"]) == (pytest.approx(1 / 5), 5 * IMAGES), "of five answers that are no refusals"
    assert one["states: age"]["value"] == one["states: sex"]["value"] == pytest.approx(1 / 5)
    assert other["states what no image shows"]["value"] == other["names a diagnosis unasked"]["value"] == 0.0
    assert (one["judge's grade"]["value"], other["judge's grade"]["value"]) == (0.0, 2.0)
    differences = {d["measure"]: d for d in found["differences"]}
    closed = differences["closed questions"]
    assert (closed["value"], closed["n"]) == (pytest.approx(1 - mean), 4 * IMAGES)
    assert closed["low"] <= 1 - mean <= closed["high"] and differences["BLEU"]["value"] == pytest.approx(1.0)
    women = [row for row in held_out if row["sex"] == "female"]
    right = sum(row[name] for row in women for name in ("malignant", "true_asymmetry", "true_border_irregular"))
    group = found["groups"]["before"]["sex"]["female"]
    assert (group["n"], group["value"]) == (4 * len(women), pytest.approx(right / (4 * len(women))))
    ada = found["judge"]["experts"]["ada"]
    assert (ada["n"], ada["same"], ada["weighted_kappa"]) == (IMAGES, 0.75, pytest.approx(0.0)), "it says right to all"
