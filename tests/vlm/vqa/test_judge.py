import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from dermray.vlm.vqa.judge import Graded, agreement, read_experts, weighted_kappa


def test_kappa_is_sklearn_s_also_weighted() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    other[:30] = one[:30]
    weights = rng.integers(0, 4, (5, 60)).astype(float)
    ours = weighted_kappa(one, other, weights)
    for row, kappa in zip(weights, ours, strict=True):
        assert kappa == pytest.approx(cohen_kappa_score(one, other, weights="quadratic", sample_weight=row))
    assert np.isnan(weighted_kappa(one * 0, one * 0, weights)).all()


def test_agreement_over_answers_that_both_graded() -> None:
    judged = {("a", f"{i}/pair-0"): i % 3 for i in range(30)}
    expert = {("a", f"{i}/pair-0"): min(2, i % 3 + (i % 5 == 0)) for i in range(20)} | {("b", "0/pair-0"): 1}
    clusters = {f"{i}/pair-0": f"g{i // 2}" for i in range(30)}
    found = agreement(judged, expert, clusters, 400, 0)
    keys = sorted(judged.keys() & expert.keys())
    truth = cohen_kappa_score([judged[k] for k in keys], [expert[k] for k in keys], weights="quadratic")
    assert found["n"] == 20 and found["weighted_kappa"] == pytest.approx(truth)
    assert found["low"] < truth < found["high"] and found["same"] < 1
    assert agreement(judged, {}, clusters, 400, 0)["weighted_kappa"] is None


def test_experts_files(tmp_path: Path) -> None:
    file = tmp_path / "ada.csv"
    file.write_text("captioner,answer_id,grade\na,x/pair-0,right\na,y/pair-0,0\na,z/pair-0,\n")
    assert read_experts([str(file)]) == {"ada": {("a", "x/pair-0"): 2, ("a", "y/pair-0"): 0}}
    file.write_text("captioner,answer_id,grade\na,x/pair-0,good\n")
    with pytest.raises(ValueError, match=r"ada.csv, line 2: grade='good'; expected one of wrong, partly right, right"):
        read_experts([str(file)])
    file.write_text("who,what\n")
    with pytest.raises(ValueError, match=r"columns \['who', 'what'\]; expected answer_id, captioner, grade"):
        read_experts([str(file)])


@pytest.mark.parametrize(
    ("reply", "status", "grade", "reason"),
    [
        ({"text": json.dumps({"why": "It says so.", "grade": "right"})}, "ok", 2, None),
        ({"text": json.dumps({"grade": "good"})}, "rejected", None, "JSON outside its schema: $"),
        ({"text": "right"}, "rejected", None, "invalid JSON: Expecting value"),
        ({"text": None, "engine_error": "500: no"}, "failed", None, "500: no"),
        ({"text": None, "unreadable": "empty file"}, "failed", None, "empty file"),
    ],
)
def test_every_reply_of_a_judge_becomes_a_row(
    reply: dict[str, str | None], status: str, grade: int | None, reason: str | None
) -> None:
    raw = {"answer_id": "x/pair-0", "captioner": "a", "unreadable": None, "engine_error": None, "requests": 1}
    row = Graded().row(raw | {"finish_reason": "stop"} | reply)
    assert (row["status"], row["grade"], row["attempts"]) == (status, grade, 1)
    assert reason is None or row["reason"].startswith(reason)
