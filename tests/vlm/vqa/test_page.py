"""One captioner, no judge, no difference: what a page and a summary then leave out."""

from typing import Any

from dermray.config import validate
from dermray.vlm.vqa import told
from dermray.vlm.vqa.page import page
from dermray.vlm.vqa.scores import Answered, evaluate
from dermray.vlm.vqa.settings import VqaConfig
from tests.vlm.vqa.test_scores import answered


def result(one: Answered) -> dict[str, Any]:
    rows = {"rows_in": 4, "ok": 3, "rejected": 1, "failed": 0, "reasons": {"rejected: refusal": 1}}
    return evaluate({"one": one}, 200, 0) | {"judge": None, "rows": {"one": rows}}


def test_one_captioner_alone() -> None:
    values = {"closed questions": [1, 0, 1, 1], "closed: malignant": [1, 0, 1, 1]}
    found = result(answered(values, ["a", "a", "b", "c"], truth=["no", "yes", "no", "no"]))
    config = validate(VqaConfig, {"output": "o", "rows": "r", "captioners": [{"name": "one", "captioner": "c"}]})
    answer = {"correct": False, "answer": "<b>Yes</b>", "status": "ok", "reason": None, "hallucinated": ["age"]}
    questions = [{"question": "Is it?", "right": "no", "answers": [answer]}]
    html = page("One", found, [{"url": "data:,", "sample_id": "f" * 64, "questions": questions}], ["one"], config)
    assert "&lt;b&gt;Yes&lt;/b&gt;" in html and "states age" in html and "rejected: refusal: 1" in html
    assert "With fewer than 20 groups do not trust" in html and "wrong:" in html
    assert "0.750" in html and "against each other" not in html and "<h2>The judge" not in html
    said = told.summary(found, ["one"])
    groups = found["leak_groups"]
    assert groups < told.ENOUGH and f"{groups} leak groups; intervals of 95% resample them; with fewer than 20" in said
    assert "fewer" not in told.summary(found | {"leak_groups": told.ENOUGH}, ["one"])
    assert "closed questions             0.750 [" in said and "(N 4, floor 0.750)" in said and " - " not in said


def test_a_judge_and_an_expert_who_never_disagree_have_no_kappa() -> None:
    found = {"n": 3, "weighted_kappa": None, "low": None, "high": None, "same": 1.0}
    assert told.kappa(found) == "none: 3 answers graded by both, all alike"
    assert told.kappa(found | {"weighted_kappa": 0.5, "low": 0.25, "high": 0.75}) == "0.50 [0.25, 0.75] over 3 answers"
