"""Why an answer may not become a caption: its form, a refusal, or context that it was told to keep to itself."""

import json
import re

from dermray.captioning.reading.refusals import refuses
from dermray.captioning.reading.typography import plain
from dermray.captioning.thinking import CUT_IN_THOUGHT

QUOTED = re.compile(
    r"internal context|(?:provided|given|supplied|accompanying|patient'?s?) (?:meta-?data|context|information)"
    r"|according to the (?:meta-?data|context|record)|the meta-?data"
)


def unusable(answer: str, finish_reason: str | None) -> str | None:
    """Why an answer must not become a caption, whatever was asked; or None.

    What stands in an answer in JSON is not judged here: the questions in it are no refusals.
    """
    words = answer.split()
    if finish_reason in ("content_filter", "refusal"):  # the endpoint's own word
        return "refusal"
    if finish_reason == CUT_IN_THOUGHT:
        return "truncated while thinking"
    if not words:
        return "empty answer"
    if finish_reason == "length":
        return "truncated answer"
    if not _is_json(answer) and refuses(answer):
        return "refusal"
    if loops(words):
        return "repetition loop"
    return None


def _is_json(answer: str) -> bool:
    try:
        return isinstance(json.loads(answer), (dict, list))
    except ValueError:
        return False


def loops(words: list[str]) -> bool:
    """Whether fewer than half of the trigrams of an answer of 15 words or more are different ones."""
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(trigrams) > 12 and len(set(trigrams)) < len(trigrams) / 2


def quotes(answer: str, known: dict[str, str]) -> bool:
    """Whether an answer speaks of the context it was told to keep to itself, or repeats a line of it.

    `known` maps the attributes' names to their values, as in the prompt.
    """
    text = plain(answer)
    lines = [plain(f"{name}: {value}") for name, value in known.items()]
    age = known.get("age")
    return (
        QUOTED.search(text) is not None
        or any(line in text for line in lines)
        or any(_names_code(answer, name, value) for name, value in known.items() if len(value) == 1)
        or (age is not None and re.search(rf"\b{age}[- ]years?[- ]old\b", text) is not None)
    )


def _names_code(answer: str, name: str, code: str) -> bool:
    """Whether "skin tone A" or the like stands there: a code that metadata have and images do not show.

    Only as a capital, for "a" is an article, and not across the end of a sentence.
    """
    pattern = rf"(?i:{name})[\s:=-]+(?:(?:is|of|type|group|class|category)\s+)*[\"'(]?{code.upper()}\b"
    return re.search(pattern, answer) is not None
