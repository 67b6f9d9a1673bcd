from typing import Any

import numpy as np
import pytest

from dermray.captioning import prompts
from dermray.captioning.reading import parse
from dermray.vlm.tuning.conversations import AnswersConfig, Conversation, Unusable, conversations_of

ROW = {"sample_id": "0a" * 32, "image": b"bytes", "status": "ok"}
PAIRS = [
    {"question": "What?", "answer": " Red. ", "status": "ok"},
    {"question": "Quoted?", "answer": "A 60-year-old.", "status": "rejected", "reason": "leak"},
    {"question": "Why?", "answer": "It is.", "status": None},
    {"question": "Empty?", "answer": None},
]


def turns_of(row: dict[str, Any], **config: Any) -> list[tuple[tuple[str, str], ...]]:
    return [talk.turns for talk in conversations_of({**ROW, **row}, AnswersConfig(**config))]


def test_pairs_that_are_ok_or_say_nothing_of_it() -> None:
    assert turns_of({"pairs": PAIRS}) == [(("What?", "Red."), ("Why?", "It is."))]
    assert turns_of({"pairs": PAIRS}, turns="separate") == [(("What?", "Red."),), (("Why?", "It is."),)]
    assert turns_of({"pairs": np.array(PAIRS, dtype=object)}) == turns_of({"pairs": PAIRS}), "as Ray gives lists"
    (talk,) = conversations_of({**ROW, "pairs": PAIRS[:1]}, AnswersConfig())
    assert talk == Conversation(str(ROW["sample_id"]), b"bytes", (("What?", "Red."),))


def test_a_column_of_text_and_the_prompt_sets_question() -> None:
    row = {"caption": "A red lesion.", "malignant": True}
    ((turn,),) = turns_of(row, answers="caption")
    assert turn == (prompts.prompt_set("abc").template, "A red lesion.")
    ((labelled,),) = turns_of(row, answers="caption", prompt_set="abc-label")
    assert labelled[0] == prompts.render("abc-label", {**ROW, **row}) and "malignant" in labelled[0]


def test_configured_questions_are_drawn_by_the_id() -> None:
    config = AnswersConfig(answers="caption", questions=["One?", "Two?", "Three?"])
    asked = [
        conversations_of({**ROW, "sample_id": f"{number:08x}", "caption": "Red."}, config)[0].turns[0][0]
        for number in range(30)
    ]
    assert asked == ["One?", "Two?", "Three?"] * 10


def test_annotated_attributes_in_words_that_are_read_back() -> None:
    row = {"true_asymmetry": True, "true_border_irregular": False, "true_colours": ["red", "black"], "skin_tone": "B"}
    ((turn,),) = turns_of(row, answers="attributes")
    said = parse(turn[1]).attributes
    assert (said.asymmetry, said.border_irregular, set(said.colours), said.skin_tone) == (
        True,
        False,
        {"red", "black"},
        "B",
    )


@pytest.mark.parametrize(("source", "taught"), [("metadata", "B"), (None, "B"), ("estimated", None)])
def test_a_skin_tone_estimated_from_pixels_is_not_taught_as_true(source: str | None, taught: str | None) -> None:
    row = {"true_asymmetry": True, "true_colours": ["red"], "skin_tone": "B", "skin_tone_source": source}
    ((turn,),) = turns_of(row, answers="attributes")
    assert parse(turn[1]).attributes.skin_tone == taught


@pytest.mark.parametrize(
    ("row", "answers", "reason"),
    [
        ({"status": "failed"}, "pairs", "row failed"),
        ({"image": None}, "pairs", "no image"),
        ({"image": b""}, "pairs", "no image"),
        ({"pairs": None}, "pairs", "no pairs"),
        ({"pairs": []}, "pairs", "no pairs"),
        ({"pairs": PAIRS[1:2]}, "pairs", "every pair rejected"),
        ({"pairs": PAIRS[3:]}, "pairs", "pairs without question or answer"),
        ({"caption": " "}, "caption", "empty caption"),
        ({"caption": float("nan")}, "caption", "empty caption"),
        ({}, "expert", "empty expert"),
        ({"skin_tone": "A"}, "attributes", "no annotated attribute"),
    ],
)
def test_rows_that_teach_nothing_have_a_reason(row: dict[str, Any], answers: str, reason: str) -> None:
    with pytest.raises(Unusable) as error:
        turns_of(row, answers=answers)
    assert str(error.value) == reason


def test_what_is_read() -> None:
    assert AnswersConfig().columns == ["pairs"]
    assert AnswersConfig(answers="expert").columns == ["expert"]
    assert "true_colours" in AnswersConfig(answers="attributes").columns


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"questions": ["What?"]}, "pairs bring their own"),
        ({"answers": "caption", "prompt_set": "clinical-qa"}, "asks for JSON"),
        ({"answers": "caption", "prompt_set": "abcd"}, "expected one of"),
    ],
)
def test_configs_that_ask_nothing_sensible(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnswersConfig(**config)
