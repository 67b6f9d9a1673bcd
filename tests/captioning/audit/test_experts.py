import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from dermray.captioning.audit.experts import agreement, order, read_answers

CAPTIONERS = ["plain", "labelled"]
SAMPLES = [f"{i:064x}" for i in range(40)]


def answers(expert: str, grades: np.ndarray) -> dict[str, object]:
    """An expert's file; `grades` (samples, captioners) by captioner, put into the page's columns."""
    columns = {s: [int(grades[i, c]) for c in order(s, 2, 3)] for i, s in enumerate(SAMPLES)}
    return {"expert": expert, "seed": 3, "grades": columns}


def test_columns_are_shuffled_and_found_again() -> None:
    orders = [tuple(order(s, 2, 3)) for s in SAMPLES]
    assert 8 < orders.count((0, 1)) < 32 and orders == [tuple(order(s, 2, 3)) for s in SAMPLES]


def test_agreement_is_sklearns_kappa_over_captions_by_captioner() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, (40, 2))
    second = np.where(rng.random((40, 2)) < 0.7, first, rng.integers(0, 3, (40, 2)))
    found = agreement([answers("ada", first), answers("bob", second)], CAPTIONERS, 3)
    assert found["mean_grade"]["ada"] == pytest.approx({"plain": first[:, 0].mean(), "labelled": first[:, 1].mean()})
    [pair] = found["agreement"]
    assert pair["captions"] == 80
    assert pair["kappa"] == pytest.approx(cohen_kappa_score(first.ravel(), second.ravel()))
    assert agreement([answers("ada", first), answers("bob", first)], CAPTIONERS, 3)["agreement"][0]["kappa"] == 1.0


def test_captions_that_one_expert_left_out_do_not_count() -> None:
    grades = np.ones((40, 2), int)
    half = answers("bob", grades)
    half["grades"] = {s: [g[0], None] for s, g in list(dict(half["grades"]).items())[:10]}  # type: ignore[call-overload]
    [pair] = agreement([answers("ada", grades), half], CAPTIONERS, 3)["agreement"]
    assert pair == {"experts": ["ada", "bob"], "captions": 10, "kappa": None, "weighted_kappa": None}


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    wrong_grade = json.dumps({"expert": "a", "seed": 0, "grades": {"x": [7]}})
    for content, message in (("no", "the JSON file"), ("[]", "the JSON file"), (wrong_grade, r"grades \['7'\]")):
        file.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_answers(str(file))
    with pytest.raises(ValueError, match="another comparison page"):
        agreement([answers("ada", np.ones((40, 2)))], CAPTIONERS, 4)
    with pytest.raises(ValueError, match="needs a name of its own"):
        agreement([answers("ada", np.ones((40, 2)))] * 2, CAPTIONERS, 3)
