import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.captioning.prompts import known
from dermray.records import INSTRUCTED, conform
from dermray.vlm.instruct.answers import Said, read
from dermray.vlm.instruct.context import COLUMNS
from dermray.vlm.instruct.finish import Finish
from dermray.vlm.instruct.questions import KINDS, questions

WHOLE = '{"general": "Brown.", "specific": "A network."}'
GOOD = {"general": Said("Brown."), "specific": Said("A network.")}
CUT = Said(None, "truncated answer")


@pytest.mark.parametrize(
    ("text", "finish", "said"),
    [
        (WHOLE, "stop", GOOD),
        (f"```json\n{WHOLE}\n```", "stop", GOOD),
        (WHOLE, "length", GOOD),
        ('{"general": "Brown.", "specific": "A net', "length", {"general": Said("Brown."), "specific": CUT}),
        ('{"general": "Bro', "length", {"general": CUT, "specific": CUT}),
        (r'{"general": "He said \"specific\": \"no\".", "spec', "length",
         {"general": Said('He said "specific": "no".'), "specific": CUT}),
        ('{"general": "Brown."}', "stop", {"general": Said("Brown."), "specific": Said(None, "empty answer")}),
        ('{"general": " ", "specific": null}', "stop", dict.fromkeys(KINDS, Said(None, "empty answer"))),
        ('{"general": ["Brown."], "specific": "A network."}', "stop",
         {"general": Said(None, "invalid JSON"), "specific": Said("A network.")}),
        ("", "stop", dict.fromkeys(KINDS, Said(None, "empty answer"))),
        ("Brown, with a network.", "stop", dict.fromkeys(KINDS, Said(None, "invalid JSON"))),
        ("I'm sorry, I can't assist with that.", "stop", dict.fromkeys(KINDS, Said(None, "refusal"))),
        (WHOLE, "content_filter", dict.fromkeys(KINDS, Said(None, "refusal"))),
        ('{"general": "\\ud83d", "specific": "A network."}', "stop",
         {"general": Said("\ufffd"), "specific": Said("A network.")}),
    ],
)  # fmt: skip
def test_what_a_model_says(text: str, finish: str, said: dict[str, Said]) -> None:
    assert read(text, finish, KINDS, None) == said


def test_an_answer_of_the_largest_length_was_cut() -> None:
    said = read(json.dumps({"general": "x" * 30, "specific": "A network."}), "stop", KINDS, 30)
    assert said == {"general": Said("x" * 30, "truncated answer"), "specific": Said("A network.")}


@given(st.dictionaries(st.sampled_from(KINDS), st.text(max_size=40)), st.integers(0, 120))
def test_of_an_answer_that_was_cut_nothing_is_made_up(answers: dict[str, str], cut: int) -> None:
    text = json.dumps(answers)[:cut]
    for kind, (answer, reason) in read(text, "length", KINDS, None).items():
        assert (answer is None) == (reason is not None)
        assert answer is None or answer == answers[kind].strip()


@given(st.text(max_size=80), st.sampled_from(["stop", "length", None]))
def test_whatever_a_model_says_there_is_an_answer_or_a_reason(text: str, finish: str | None) -> None:
    assert all(said.answer or said.reason for said in read(text, finish, KINDS, None).values())


def finished(text: str | None, **columns: object) -> dict[str, object]:
    """The row that `Finish` makes of a model's words."""
    row = {
        "sample_id": "ab" * 32, "image": b"x", "modality": "dermoscopic", "sex": "female", "licence": "CC-BY-4.0",
        "question": "?", "unreadable": None, "finish_reason": "stop", "engine_error": None, "requests": 1,
        "tokens_in": 80, "tokens_out": 20, "text": text,
    } | columns  # fmt: skip
    return Finish(COLUMNS, 0.7, None, {"captioner": "c", "captioner_revision": "r", "sampling": "{}"}).row(row)


def test_a_row_is_ok_where_one_of_its_pairs_is() -> None:
    row = finished(json.dumps({"general": "A brown, symmetric lesion.", "specific": "This woman has a network."}))
    table = conform([row], INSTRUCTED)
    assert table.schema == INSTRUCTED and table["licence"].to_pylist() == ["CC-BY-4.0"]
    assert (row["status"], row["reason"]) == ("ok", None)
    asked = questions(row)
    assert row["pairs"] == [
        {"question": asked[0].text, "answer": "A brown, symmetric lesion.", "kind": "general", "status": "ok",
         "reason": None},
        {"question": asked[1].text, "answer": "This woman has a network.", "kind": "specific", "status": "rejected",
         "reason": "quotes the internal context"},
    ]  # fmt: skip
    assert known(row)["sex"] == "female"


@pytest.mark.parametrize(
    ("columns", "status", "reason", "pairs"),
    [
        ({"text": '{"general": "", "specific": "I cannot help with that."}'}, "rejected",
         "no usable pair: empty answer; refusal", 2),
        ({"text": '{"general": "Brown lesion here.", "specific": "Brown lesion here"}'}, "ok", None, 2),
        ({"text": "", "finish_reason": "length"}, "rejected", "no usable pair: empty answer", 2),
        ({"text": None, "engine_error": "ValueError: too long"}, "failed", "engine: ValueError: too long", None),
        ({"text": None, "unreadable": "no image", "requests": None}, "rejected", "no image", None),
    ],
)  # fmt: skip
def test_every_row_gets_one_status(
    columns: dict[str, object], status: str, reason: str | None, pairs: int | None
) -> None:
    row = finished(**columns)  # type: ignore[arg-type]  # text is among them
    assert (row["status"], row["reason"]) == (status, reason)
    found = row["pairs"]
    assert (found is None) == (pairs is None) and (not isinstance(found, list) or len(found) == pairs)
    assert conform([row], INSTRUCTED).num_rows == 1 and row["attempts"] == (0 if columns.get("unreadable") else 1)
