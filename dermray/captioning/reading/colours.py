"""Which of the ABCD rule's six colours an answer sees in a lesion."""

import re
from collections.abc import Iterable

from dermray.captioning.reading.clauses import Clause
from dermray.captioning.reading.nouns import described
from dermray.captioning.reading.structures import VEIL
from dermray.records import COLOURS

# Tan is the light brown of dermoscopy. Brown alone is neither light nor dark, pink not red. Reddish and whitish stand
# for red and white; before another colour ("reddish brown") they make a mixture, which is neither.
WORDS = {
    "white": r"whit(?:e|ish)",
    "red": r"red(?:dish|ness)?",
    "light brown": r"light brown|tan",
    "dark brown": r"dark brown",
    "blue-gray": r"blu(?:e|ish)[- ]gr[ae]y(?:ish)?|gr[ae]y(?:ish)?[- ]blu(?:e|ish)",
    "black": r"black(?:ish)?",
}
assert tuple(WORDS) == COLOURS
COLOUR = re.compile("|".join(rf"\b({words})\b" for words in WORDS.values()))
ANY = (
    r"(?:white|red|brown|black|gr[ae]y|blue|pink|purple|violet|yellow|orange|tan|"
    r"(?:whit|redd|brown|black|gray|blu|pink)ish)"
)
MIXTURE = re.compile(rf"\b(?!{WORDS['blue-gray']})(?:{ANY}-{ANY}|\w+ish {ANY})\b")
BROWN = re.compile(r"\b(light|dark)(?:-brown\b|(?=(?:,| and| to| or|/) ?(?:light|dark)[- ]brown\b))")
AROUND = re.compile(r"\s+(?:\w+\s+){0,2}?(?:around|surrounding|beside|outside)\b")


def spelled(text: str) -> str:
    """The text with each brown in full: "light to dark-brown" becomes "light brown to dark brown"."""
    return BROWN.sub(r"\1 brown", text)


def colours(clauses: Iterable[Clause]) -> tuple[str, ...]:
    """Those affirmed, in the order of `records.COLOURS`."""
    seen = {colour for clause in clauses for colour in _seen(clause)}
    return tuple(colour for colour in COLOURS if colour in seen)


def _seen(clause: Clause) -> set[str]:
    blank = Clause(VEIL.sub(_blank, MIXTURE.sub(_blank, clause.text)), clause.topic, clause.before)
    return {
        COLOURS[word.lastindex - 1]
        for word in COLOUR.finditer(blank.text)
        if word.lastindex and clause.status(word.start()) == "affirmed" and not _elsewhere(clause, word)
    }


def _blank(words: re.Match[str]) -> str:
    return "-" * len(words.group())  # places stay


def _elsewhere(clause: Clause, word: re.Match[str]) -> bool:
    return described(clause, word, COLOUR) == "elsewhere" or AROUND.match(clause.text, word.end()) is not None
