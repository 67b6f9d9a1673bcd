"""Which pairs may be learned from: each has a status, and a reason where it may not."""

from collections.abc import Iterable
from typing import Any

from dermray.captioning.reading.typography import plain
from dermray.captioning.unusable import quotes, unusable
from dermray.vlm.instruct.hallucinations import hallucinated

SHINGLE = 3  # words


def judge(answer: str, row: dict[str, Any], known: dict[str, str]) -> str | None:
    """Why an answer may not be learned from, looked at alone; or None.

    Args:
        row: with its metadata. known: what of these the model was given, see `context`.
    """
    if reason := unusable(answer, None):  # empty, a refusal, a loop
        return reason
    if quotes(answer, known):
        return "quotes the internal context"
    return hallucinated(answer, row)


def repeats(answer: str, earlier: Iterable[str], threshold: float) -> str | None:
    """Why an answer says what another one of the same image says already, or None.

    Args:
        threshold: share of their shingles of three words that two answers have in common (Jaccard) from which on they
            are near duplicates.
    """
    own = words(answer)
    for other in map(words, earlier):
        if own == other:
            return "repeats another answer"
        if similarity(own, other) >= threshold:
            return "nearly repeats another answer"
    return None


def words(text: str) -> list[str]:
    """Of an answer, without punctuation and case."""
    return [bare for word in plain(text).split() if (bare := word.strip(".,;:!?\"'()[]"))]


def similarity(one: list[str], other: list[str]) -> float:
    """Jaccard of the shingles of two answers, 0 to 1; of their words where one is shorter than a shingle."""
    size = min(SHINGLE, len(one), len(other)) or 1
    first, second = ({tuple(text[i : i + size]) for i in range(len(text) - size + 1)} for text in (one, other))
    return len(first & second) / len(first | second) if first | second else 1.0
