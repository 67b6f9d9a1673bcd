"""Whether an answer calls a lesion asymmetric, in shape, colour or structure (the A of the ABCD rule)."""

import re
from collections.abc import Iterable, Iterator

from dermray.captioning.reading.clauses import Clause
from dermray.captioning.reading.nouns import described
from dermray.captioning.reading.votes import CUES, unanimous, vote

ADJECTIVE = re.compile(r"\b(a?)symmetric(?:al(?:ly)?)?\b")
NOUN = re.compile(r"\b(a?)symmetr(?:y|ies)\b")
# "One half does not match the other" is how laymen's rules put it.
HALVES = re.compile(r"\b(?:halves|half|two sides)\b.*?\b(?:(match|mirror|alike|identical)|(differ|unlike))")
# Symmetric about one axis only is neither: the ABCD rule gives it one point of two.
ONE_AXIS = re.compile(r"\b(?:in|along|about|across) (?:only )?(?:one|a single|the \w+) ax[ie]s\b")
OF_THE_LESION = {"lesion", "shape", "colour", None}


def asymmetry(clauses: Iterable[Clause]) -> bool | None:
    """True, False, or None where nothing is said for certain."""
    clauses = list(clauses)
    if any(ONE_AXIS.search(clause.text) for clause in clauses):
        return None
    return unanimous(value for clause in clauses for value in _votes(clause))


def _votes(clause: Clause) -> Iterator[bool | None]:
    for word in ADJECTIVE.finditer(clause.text):
        if described(clause, word, ADJECTIVE) in OF_THE_LESION:
            yield vote(clause, word.start(), word[1] == "a")
    for word in NOUN.finditer(clause.text):
        if clause.status(word.start()) == "denied" or CUES.search(clause.text):
            yield vote(clause, word.start(), word[1] == "a")
    for words in HALVES.finditer(clause.text):
        yield vote(clause, words.end() - 1, words[2] is not None)
