"""From the model's own words to one answer a question, or the reason why there is none."""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from dermray.captioning.reading.refusals import refuses

FENCE = re.compile(r"^\s*```(?:json)?\s*|\s*```\s*$")  # endpoints without guided decoding dress JSON as Markdown
MEMBER = r'"{kind}"\s*:\s*("(?:[^"\\]|\\.)*")'  # of an object that was cut: a key and a string that is whole


class Said(NamedTuple):
    """One answer, or why there is none."""

    answer: str | None
    reason: str | None = None


def read(text: str, finish_reason: str | None, kinds: Sequence[str], most_characters: int | None) -> dict[str, Said]:
    """The answer to each of the questions.

    Of an answer that was cut, those that came before the cut stand.

    Args:
        most_characters: at which guided decoding ends an answer; one of that length was cut.
    """
    if finish_reason in ("content_filter", "refusal"):  # the endpoint's own word
        return {kind: Said(None, "refusal") for kind in kinds}
    text = FENCE.sub("", text)
    if not text.strip():
        return {kind: Said(None, "empty answer") for kind in kinds}
    said = _object(text)
    if said is not None:
        return {kind: _whole(said.get(kind), most_characters) for kind in kinds}
    if finish_reason == "length":
        return {kind: _before_the_cut(text, kind) for kind in kinds}
    return {kind: Said(None, "refusal" if refuses(text) else "invalid JSON") for kind in kinds}


def _object(text: str) -> dict[str, Any] | None:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _whole(answer: Any, most_characters: int | None) -> Said:
    if answer is None:
        return Said(None, "empty answer")
    if not isinstance(answer, str):
        return Said(None, "invalid JSON")
    answer = _encodable(answer.strip())
    if most_characters is not None and len(answer) >= most_characters:
        return Said(answer, "truncated answer")
    return Said(answer) if answer else Said(None, "empty answer")


def _before_the_cut(text: str, kind: str) -> Said:
    found = re.search(MEMBER.format(kind=re.escape(kind)), text, re.DOTALL)
    try:
        answer = _encodable(str(json.loads(found[1])).strip()) if found else None
    except ValueError:  # a control character, or half an escape
        answer = None
    if answer is None:
        return Said(None, "truncated answer")
    return Said(answer) if answer else Said(None, "empty answer")


def _encodable(text: str) -> str:
    """JSON may name half of a surrogate pair, which is no text that Arrow takes."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
