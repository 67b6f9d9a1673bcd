"""What an endpoint's reply says: an answer, or why it is none.

Servers and gateways keep to OpenAI's protocol more or less, so nothing of a reply is taken for granted: whatever JSON
it holds becomes columns.
"""

import json
import re
from typing import Any

from dermray.captioning.thinking import parted, settled

THOUGHTS = ("reasoning_content", "reasoning")  # fields of a message: vLLM's and DeepSeek's older name, the newer one
LARGEST_COUNT = 2**31 - 1  # of a column of ANSWERED
# As these stand in the types and codes of errors that pass by themselves.
PASSING = re.compile(r"(?i)overload|rate.?limit|too.many|server.?error|internal|timeout|unavailable|busy")


def decode(content: bytes) -> dict[str, Any]:
    """The JSON object that a reply is.

    Raises:
        ValueError: it is something else, such as a gateway's HTML page, or was cut.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        text = plain(content.decode(errors="replace"))
        raise ValueError(f"the reply is no JSON: {text[:100] or 'it is empty'}") from None
    if not isinstance(body, dict):
        raise ValueError(f"the reply is no JSON object: {str(body)[:100]}")
    return body


def plain(text: str) -> str:
    """Text without HTML: a page's title, or its words in one line."""
    title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
    words = title[1] if title else re.sub(r"(?s)<(script|style).*?</\1>|<[^>]*>", " ", text)
    return ("an HTML page: " if re.search(r"(?i)<(!doctype|html|head|body)\b", text) else "") + " ".join(words.split())


def error_of(body: dict[str, Any]) -> dict[str, Any] | None:
    """The error that a reply of status 200 holds, or None."""
    first = choice_of(body) or {}
    for error in (body.get("error"), first.get("error"), body if body.get("object") == "error" else None):
        if error:
            return error if isinstance(error, dict) else {"message": str(error)}
    return None


def message_of(error: Any) -> str:
    """What an error's body says, in one line: servers put it into several places."""
    while isinstance(error, dict):
        inner = error.get("error") or error.get("message") or error.get("detail")
        if not inner:
            break
        error = inner
    return encodable(plain(error if isinstance(error, str) else json.dumps(error)))


def passes(error: dict[str, Any]) -> bool:
    """Whether an error passes by itself, by its code (a status of HTTP, or a word) or type."""
    code = str(error.get("code"))
    if re.fullmatch(r"[45]\d\d", code):
        return code in ("408", "409", "425", "429") or code.startswith("5")
    return PASSING.search(f"{code} {error.get('type')}") is not None


def paid(body: dict[str, Any]) -> bool:
    """Whether a reply is an answer, usable or not, and so will be charged for."""
    return error_of(body) is None and bool(choice_of(body) or body.get("usage"))


def columns(body: dict[str, Any]) -> dict[str, Any]:
    """The columns of ANSWERED, without the number of requests. What a reply does not say is left out."""
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    found = {"tokens_in": _count(usage.get("prompt_tokens")), "tokens_out": _tokens_out(usage)}
    found |= _answer(body)
    return {name: encodable(value) for name, value in found.items() if value is not None}


def _tokens_out(usage: dict[str, Any]) -> int | None:
    """Thoughts among them. OpenAI counts these as completion; Gemini's endpoint counts them in the total alone."""
    tokens_in, said = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    total = _count(usage.get("total_tokens"))
    if said is None or tokens_in is None or total is None:
        return said
    return max(said, total - tokens_in)


def choice_of(body: dict[str, Any]) -> dict[str, Any] | None:
    """The first choice of a reply, or None."""
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _answer(body: dict[str, Any]) -> dict[str, Any]:
    if error := error_of(body):
        return {"engine_error": f"an error in a reply of status 200: {message_of(error)}"}
    choice = choice_of(body)
    if choice is None:
        return {"engine_error": "no choices in the reply"}
    message, reason = choice.get("message"), choice.get("finish_reason")
    reason = {"finish_reason": reason} if isinstance(reason, str) else {}
    if not isinstance(message, dict):
        return reason | {"engine_error": "no message in the reply"}
    words = reason | _words(message)
    return words | _without_thoughts(words, message) if "text" in words else words


def _without_thoughts(words: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    """A server without a parser of reasoning hands thoughts on in the text; one that has it, beside the text, where
    nobody reads them."""
    text, within = parted(words["text"])
    beside = any(_part(message, name).strip() for name in THOUGHTS)
    text, reason = settled(text, within or (beside and not text.strip()), words.get("finish_reason"))
    return {"text": text} | ({"finish_reason": reason} if reason else {})


def _words(message: dict[str, Any]) -> dict[str, Any]:
    """Text of a message: `content` is a string, a list of parts, or null."""
    content, refusal = message.get("content"), message.get("refusal")
    parts = content if isinstance(content, list) else [content]
    texts = [_part(part, "text") for part in parts]
    refusal = refusal or "".join(_part(part, "refusal") for part in parts if isinstance(part, dict))
    if refusal:
        return {"text": str(refusal), "finish_reason": "refusal"}
    if not any(texts) and (message.get("tool_calls") or message.get("function_call")):
        return {"engine_error": "a tool call instead of text"}
    return {"text": "".join(texts)}


def _part(part: Any, kind: str) -> str:
    value = part.get(kind) if isinstance(part, dict) else part
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value // 1
    return int(value) if whole and 0 <= value <= LARGEST_COUNT else None


def encodable(value: Any) -> Any:
    """Half of a surrogate pair, as where a model's answer ended within an emoji, is no text that Arrow takes."""
    return (
        value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") if isinstance(value, str) else value
    )
