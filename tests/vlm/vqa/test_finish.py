from typing import Any

import pytest

from dermray.records import conform
from dermray.vlm.vqa.finish import Finish, attributes_right
from dermray.vlm.vqa.rows import ANSWERS
from tests.vlm.vqa.results import REFERENCE

ROW = {"answer_id": "s/x", "sample_id": "s", "malignant": True, "entity": "mel", "sex": "female", "age": 60.0,
       "site": "scalp", "skin_tone": "B", "skin_tone_source": "metadata", "modality": "dermoscopic",
       "true_asymmetry": True, "true_border_irregular": False, "true_colours": ["red", "black"]}  # fmt: skip
ENGINE = {"unreadable": None, "engine_error": None, "finish_reason": "stop", "requests": 1}


def finished(question: str, text: str | None, **more: Any) -> dict[str, Any]:
    raw = ROW | ENGINE | {"question_id": question, "text": text, "truth": None, "reference": None} | more
    row = Finish({"captioner": "one"}).row(raw)
    assert conform([row], ANSWERS).schema == ANSWERS
    return row


def test_a_closed_question_is_read_and_scored_word_by_word() -> None:
    row = finished("malignant", "Yes, it is malignant.", truth="yes")
    assert (row["said"], row["correct"], row["exact"], row["f1"]) == ("yes", True, False, pytest.approx(0.4))
    assert (row["status"], row["hallucinated"], row["names_a_diagnosis"]) == ("ok", [], None)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"text": "I'm sorry, I can't help with medical images."}, "refusal"),
        ({"text": "yes", "finish_reason": "length"}, "truncated answer"),
        ({"text": ""}, "empty answer"),
    ],
)
def test_what_cannot_be_used_is_wrong(more: dict[str, Any], reason: str) -> None:
    row = finished("malignant", **{"text": "", "truth": "yes"} | more)
    assert (row["status"], row["reason"], row["correct"], row["exact"], row["f1"]) == (
        "rejected", reason, False, False, 0.0,
    )  # fmt: skip
    row = finished("pair-0", **{"text": "", "reference": REFERENCE} | more)
    assert row["rouge1"] == 0.0 and row["bleu_counts"][:4] == [0] * 4 and row["hallucinated"] is None


def test_where_the_engine_failed_there_is_no_score() -> None:
    row = finished("malignant", None, truth="yes", engine_error="no memory")
    assert (row["status"], row["reason"], row["correct"], row["f1"]) == ("failed", "engine: no memory", None, None)
    assert finished("malignant", None, truth="yes", unreadable="empty file")["status"] == "failed"


@pytest.mark.parametrize(
    ("question", "text", "hallucinated", "names"),
    [
        ("describe", "A 60-year-old woman with a red patch.", ["age", "sex"], False),  # true, but no image shows it
        ("describe", "A red patch on the scalp, fitzpatrick III.", [], False),
        ("describe", "A red patch on the left forearm, fitzpatrick VI.", ["skin_tone", "site"], False),
        ("describe", "This is a benign nevus.", ["diagnosis"], True),
        ("describe", "This is a melanoma.", [], True),
        ("describe", "No sign of a nevus, no mention of a man.", [], True),
        ("site", "On the left forearm.", [], False),  # wrong, but asked for
        ("diagnosis", "A nevus.", [], None),
        ("asymmetry", "No. It is a nevus.", ["diagnosis"], True),
    ],
)
def test_what_an_answer_makes_up(question: str, text: str, hallucinated: list[str], names: bool | None) -> None:
    truth = None if question == "describe" else "x"
    row = finished(question, text, truth=truth)
    assert (row["hallucinated"], row["names_a_diagnosis"]) == (hallucinated, names)


def test_attributes_of_a_description() -> None:
    text = "asymmetric lesion, irregular border, red and black."
    found = attributes_right(ROW, text)
    assert found == {
        "asymmetry_right": True, "border_right": False, "colours_right": True, "skin_tone_right": False,
    }  # fmt: skip
    assert attributes_right(ROW | {"skin_tone_source": "estimated"}, text)["skin_tone_right"] is None
    photograph = ROW | dict.fromkeys(["true_asymmetry", "true_border_irregular", "true_colours"])
    assert attributes_right(photograph, text)["asymmetry_right"] is None
