"""Replies as servers, gateways and proxies really send them."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermray.captioning import replies
from dermray.captioning.engine import ANSWERED

USAGE = {"prompt_tokens": 70, "completion_tokens": 6}
COUNTS = {"tokens_in": 70, "tokens_out": 6}


def reply(message: Any, finish_reason: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": finish_reason}], "usage": USAGE} | more


CALL = [{"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
PARTS = [{"type": "text", "text": "Red "}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "spot."}]
REFUSAL = {"type": "refusal", "refusal": "I'd rather not."}
REFUSED = COUNTS | {"text": "I'd rather not.", "finish_reason": "refusal"}
NO_CHOICES = {"engine_error": "no choices in the reply"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (reply({"content": "Red."}), COUNTS | {"text": "Red.", "finish_reason": "stop"}),
        (reply({"content": "Red."}, None), COUNTS | {"text": "Red."}),
        (reply({"content": PARTS}), COUNTS | {"text": "Red spot.", "finish_reason": "stop"}),
        (reply({"content": None}), COUNTS | {"text": "", "finish_reason": "stop"}),
        (reply({"content": "Red."}, usage=None), {"text": "Red.", "finish_reason": "stop"}),
        (reply({"content": "R"}, usage={"prompt_tokens": "7", "completion_tokens": -1}),
         {"text": "R", "finish_reason": "stop"}),
        (reply({"content": None, "refusal": "I'd rather not."}), REFUSED), (reply({"content": [REFUSAL]}), REFUSED),
        (reply({"content": None, "tool_calls": CALL}, "tool_calls"),
         COUNTS | {"engine_error": "a tool call instead of text", "finish_reason": "tool_calls"}),
        (reply(None), COUNTS | {"engine_error": "no message in the reply", "finish_reason": "stop"}),
        ({"choices": [], "usage": USAGE}, COUNTS | NO_CHOICES),
        ({"choices": None}, NO_CHOICES), ({"choices": [None]}, NO_CHOICES), ({}, NO_CHOICES),
        ({"error": {"message": "The image is too large."}},
         {"engine_error": "an error in a reply of status 200: The image is too large."}),
        ({"object": "error", "message": "Bad image", "code": 40001},
         {"engine_error": "an error in a reply of status 200: Bad image"}),
        (reply({"content": "mole \ud83d"}), COUNTS | {"text": "mole \ufffd", "finish_reason": "stop"}),
    ],
)  # fmt: skip
def test_a_reply_is_read_as_far_as_it_goes(body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert replies.columns(replies.decode(json.dumps(body).encode())) == expected


KEYS = st.sampled_from(
    ["choices", "message", "content", "text", "usage", "error", "code", "refusal", "tool_calls", "finish_reason",
     "prompt_tokens", "completion_tokens", "detail", "object", "type"]
)  # fmt: skip
SURROGATES = st.characters(categories=["L", "Cs"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(SURROGATES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, JSON))
def test_no_json_is_too_odd_to_become_columns(body: dict[str, Any]) -> None:
    read = replies.decode(json.dumps(body).encode())
    columns = replies.columns(read)
    for name, kind in ANSWERED:
        pa.array([columns.get(name)], kind)
    assert ("text" in columns) != ("engine_error" in columns)
    assert not (replies.paid(read) and "an error in a reply" in columns.get("engine_error", ""))
    replies.message_of(read).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"<!DOCTYPE html><html><head><title>502\n Bad Gateway</title></head>",
            "no JSON: an HTML page: 502 Bad Gateway$",
        ),
        (b"<html><body><p>Please <b>log in</b></p></body></html>", "no JSON: an HTML page: Please log in$"),
        (b'{"choices": [{"message": {"content": "Re', 'no JSON: {"choices": '),
        (b"", "no JSON: it is empty"),
        (b'"Red."', "no JSON object: Red."),
        (b"[" * 100_000, "no JSON: "),
        (b"\xff\xfe\xfd", "no JSON: "),
    ],
)
def test_what_is_no_json_is_said_in_a_line(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        replies.decode(content)
    assert len(str(error.value)) < 200 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        ({"code": 429}, True), ({"code": "503"}, True), ({"code": 400}, False), ({"code": 404}, False),
        ({"type": "overloaded_error"}, True), ({"type": "server_error", "code": None}, True),
        ({"code": "rate_limit_exceeded"}, True), ({"type": "invalid_request_error"}, False),
        ({"code": "content_policy_violation"}, False), ({"code": "context_length_exceeded"}, False), ({}, False),
        ({"code": "insufficient_quota"}, False),
    ],
)  # fmt: skip
def test_errors_that_pass_by_themselves_are_told_from_those_that_stay(error: dict[str, Any], passes: bool) -> None:
    assert replies.passes(error) is passes


def test_an_answer_is_paid_for_and_an_error_is_not() -> None:
    assert replies.paid(reply({"content": "Red."})) and replies.paid({"choices": [], "usage": USAGE})
    assert not replies.paid({"error": {"message": "no"}, "usage": USAGE}) and not replies.paid({"detail": "busy"})
