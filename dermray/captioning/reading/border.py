"""Whether an answer calls a lesion's border irregular.

The B of ABCDE (American Academy of Dermatology): irregular, scalloped or poorly defined. The outline goes first: a
border that is sharp but jagged is irregular; of one that is smooth but blurred nothing is known.
"""

import re
from collections.abc import Iterable, Iterator

from dermray.captioning.reading.clauses import Clause
from dermray.captioning.reading.nouns import NOUNS, WORD, described
from dermray.captioning.reading.votes import CUES, unanimous, vote

OUTLINE = re.compile(
    r"\b(?:(irregular|notched|jagged|ragged|scalloped|uneven|lobulated)|(regular|smooth|even)(?![\w-]))\b"
)
DEFINED = r"(?:defined|demarcated|circumscribed|delineated)"
DEFINITION = re.compile(
    rf"\b(?:((?:ill|poorly)[- ]{DEFINED}|undefined|indistinct|blurred|blurry|fuzzy|hazy)"
    rf"|((?:well|sharply|clearly)[- ]{DEFINED}|distinct|sharp|clear|crisp))\b"
)
ADJECTIVES = re.compile(f"{OUTLINE.pattern}|{DEFINITION.pattern}")
IRREGULARITY = re.compile(r"\birregularit(?:y|ies)\b")


def border_irregular(clauses: Iterable[Clause]) -> bool | None:
    """True, False, or None where nothing is said for certain."""
    outlines: set[bool] = set()
    definitions: set[bool] = set()
    for clause in clauses:
        outlines.update(value for value in _outline(clause) if value is not None)
        definitions.update(value for value in _definition(clause) if value is not None)
    if outlines == {True}:
        return True
    return unanimous(outlines | definitions)


def _outline(clause: Clause) -> Iterator[bool | None]:
    for word in OUTLINE.finditer(clause.text):
        if described(clause, word, ADJECTIVES) == "border":
            yield vote(clause, word.start(), word[1] is not None)
    for word in IRREGULARITY.finditer(clause.text):
        of_the_border = "border" in (NOUNS.get(other) for other in WORD.findall(f"{clause.text} {clause.topic}"))
        if of_the_border and (clause.status(word.start()) == "denied" or CUES.search(clause.text)):
            yield vote(clause, word.start(), True)


def _definition(clause: Clause) -> Iterator[bool | None]:
    for word in DEFINITION.finditer(clause.text):
        noun = described(clause, word, ADJECTIVES)
        # "a well-defined papule" speaks of its border, "a clear papule" does not
        if noun == "border" or (noun == "lesion" and re.search(DEFINED, word.group())):
            yield vote(clause, word.start(), word[1] is not None)
