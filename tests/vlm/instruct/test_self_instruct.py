"""What the second round asks, how its answers are read, and which questions are taken, without an engine."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.question_sets import QUESTIONS
from dermray.config import ConfigError, validate
from dermray.picked import FILE
from dermray.records import AT, INSTRUCTED, kind
from dermray.vlm.instruct import phrasings, prompt, taken
from dermray.vlm.instruct.self_instruct import (
    CANDIDATES,
    KIND,
    Finish,
    SelfInstructConfig,
    prompt_of,
    schema,
    seeds,
    version,
)
from dermray.vlm.instruct.settings import InstructConfig
from dermray.vlm.instruct.similarity import Spelling
from dermray.vlm.instruct.taken import ENOUGH, SIMILAR, Taken, in_order
from dermray.vlm.instruct.whole_set import together

CONFIG = SelfInstructConfig()
ROW = {"sample_id": "ab" * 32, "modality": "dermoscopic", "diagnosis": "melanoma", "age": 47.0, "sex": "female"}
FIRST = [{"question": "Describe it.", "answer": "A brown patch with a sharp border and an even colour.",
          "kind": "general", "status": "ok", "reason": None}]  # fmt: skip
SAID = {
    "question 1": "How many colours can be told apart?",
    "answer 1": "Two shades of brown are visible in the middle.",
    "question 2": "Is the outline notched anywhere?",
    "answer 2": "The outline has a small notch at its upper left.",
}


def brought(said: Any = SAID, **more: Any) -> dict[str, Any]:
    text = said if isinstance(said, str) else json.dumps(said)
    raw = ROW | {"pairs": FIRST, "unreadable": None, "text": text, "finish_reason": "stop", "engine_error": None}
    raw |= {FILE: "/data/first/rows/1.parquet", "requests": 1, "tokens_in": 9, "tokens_out": 7}
    return Finish(("diagnosis", "age"), CONFIG, 0.7, None, Spelling()).row(raw | more)


def test_the_prompt_shows_seeds_that_fit_and_always_the_same_ones_of_an_image() -> None:
    own = SelfInstructConfig(seeds=["Does the lesion cross a skin fold?"], shown=20)
    text = prompt_of(ROW, ("diagnosis", "modality"), CONFIG)
    assert prompt_of(ROW, ("diagnosis", "modality"), CONFIG) == text != prompt_of(ROW | {"sample_id": "0"}, (), CONFIG)
    assert "diagnosis: melanoma" in text and prompt.INTERNAL in text and "Ask 2 that this image can answer" in text
    shown = [line[2:] for line in text.split("skin lesions:\n")[1].splitlines() if line.startswith("- ")]
    assert len(shown) == CONFIG.shown == len(set(shown))
    assert set(shown) <= {*phrasings.GENERAL, *phrasings.DERMOSCOPIC}
    drawn = {line for i in range(40) for line in prompt_of({**ROW, "sample_id": str(i)}, (), own).splitlines()}
    assert "- Does the lesion cross a skin fold?" in drawn
    assert set(phrasings.CLINICAL) < set(seeds(own)) and seeds(own)[-1] == "Does the lesion cross a skin fold?"
    assert version(own) != version(CONFIG)


def test_guided_decoding_asks_before_it_answers() -> None:
    shape = schema(CONFIG, 200, False)
    jsonschema.validate(SAID, shape)
    jsonschema.validate(SAID, schema(CONFIG, 200, True))
    for key, ending in (("question 1", "."), ("answer 1", "?")):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(SAID | {key: f"Not so{ending}"}, schema(CONFIG, 200, True))
    assert list(shape["properties"]) == ["question 1", "answer 1", "question 2", "answer 2"] == shape["required"]


def test_new_pairs_are_read_and_features_taken_of_those_that_stand() -> None:
    row = brought()
    assert [(p["question"], p["answer"], p["kind"], p["status"]) for p in row["pairs"]] == [
        (SAID["question 1"], SAID["answer 1"], KIND, "ok"),
        (SAID["question 2"], SAID["answer 2"], KIND, "ok"),
    ]
    assert [len(feature) for feature in row["features"]] == [512, 512] and row["status"] == "ok"
    pa.Table.from_pylist([row], CANDIDATES)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question 1": ""}, "question: empty answer"),
        ({"question 1": "Why? " * 100}, "question: more than 300 characters"),
        ({"question 1": "What about this 47-year-old with melanoma, age 47?"}, "question: quotes the internal context"),
        ({"answer 1": "I'm sorry, but I cannot help with that."}, "refusal"),
        ({"answer 1": FIRST[0]["answer"]}, "repeats another answer"),
        ({"answer 1": 3}, "invalid JSON"),
    ],
)
def test_a_pair_that_may_not_be_learned_from_keeps_its_reason(change: dict[str, Any], reason: str) -> None:
    row = brought(SAID | change)
    assert [pair["status"] for pair in row["pairs"]] == ["rejected", "ok"]
    assert row["pairs"][0]["reason"] == reason and row["features"][0] is None and row["features"][1]


def test_an_answer_that_was_cut_keeps_the_pair_before_the_cut() -> None:
    text = json.dumps(SAID)
    row = brought(text[: text.index("has a small")], finish_reason="length")
    assert [(pair["status"], pair["reason"]) for pair in row["pairs"]] == [
        ("ok", None),
        ("rejected", "truncated answer"),
    ]


def test_no_answer_at_all_is_as_many_rejected_pairs() -> None:
    for more, reason in (
        ({"engine_error": "too long"}, "engine: too long"),
        ({"unreadable": "no image"}, "no image"),
        ({"text": "no JSON"}, "question: invalid JSON"),
    ):
        row = brought(**more)
        assert [pair["reason"] for pair in row["pairs"]] == [reason] * 2 and row["features"] == [None, None]
        assert row["status"] == "rejected"


def test_of_similar_questions_the_first_is_taken_and_the_others_say_which_it_was() -> None:
    measure = Spelling()
    texts = [text for question in QUESTIONS for text in (question.first, *question.edited)]
    judge = Taken(measure, [QUESTIONS[0].first], most=len(QUESTIONS))
    reasons = dict(zip(texts, map(judge.judge, texts, measure.features(texts)), strict=True))
    for question in QUESTIONS[1:]:
        assert reasons[question.first] is None
        assert {reasons[other] for other in question.edited} == {f"{SIMILAR}{AT}{question.first}"}
    assert kind(str(reasons[QUESTIONS[0].first])) == SIMILAR, "a seed was asked before"
    few = Taken(measure, [], most=3)
    firsts = [question.first for question in QUESTIONS]
    assert list(map(few.judge, firsts, measure.features(firsts))) == [None] * 3 + [ENOUGH] * (len(firsts) - 3)
    assert few.counts == {"taken": 3, "over_the_most": len(firsts) - 3}


def test_rows_come_in_the_order_of_their_ids_however_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"{(number * 2654435761) % 2**32:08x}{'f' * 56}" for number in range(500)]
    monkeypatch.setattr(taken, "ROWS_AT_ONCE", 60)
    for start in range(0, 500, 70):
        pq.write_table(pa.table({"sample_id": ids[start : start + 70]}), tmp_path / f"{start}.parquet")
    assert [row["sample_id"] for row in in_order(str(tmp_path), ["sample_id"])] == sorted(ids)
    assert list(in_order(str(tmp_path / "none"), ["sample_id"])) == []


def test_both_rounds_in_one_row() -> None:
    first = dict.fromkeys(INSTRUCTED.names) | ROW | {"pairs": FIRST, "status": "ok", "answer": "{}"}
    first |= {"prompt_set": "instruct@1", "tokens_in": 5, "attempts": 1}
    row = together(first, FIRST, brought(), "self-instruct@2")
    assert [pair["kind"] for pair in row["pairs"]] == ["general", KIND, KIND]
    assert (row["tokens_in"], row["tokens_out"], row["attempts"]) == (14, 7, 2)
    assert row["prompt_set"] == "instruct@1 self-instruct@2" and row["answer"].endswith(json.dumps(SAID))
    assert together(first, FIRST, None, "") == first
    none = together(first, [FIRST[0] | {"status": "rejected", "reason": "why"}], None, "")
    assert (none["status"], none["reason"]) == ("rejected", "no usable pair: why")


def test_settings_that_cannot_come_out_well() -> None:
    base = {"output": "o", "rows": "r", "captioner": "c"}
    with pytest.raises(ConfigError, match="8 new questions with their answers would be cut; expected at least 256"):
        validate(InstructConfig, base | {"self_instruct": {"questions": 8}, "sampling": {"max_tokens": 96}})
    with pytest.raises(ConfigError, match=r"seeds \[1\] are empty"):
        validate(InstructConfig, base | {"self_instruct": {"seeds": ["Why?", " "]}})
    with pytest.raises(ConfigError, match="threshold"):
        validate(InstructConfig, base | {"self_instruct": {"similarity": {"threshold": 1.5}}})
