"""What an answer says of a lesion, read clause by clause.

A word counts only where its clause affirms or denies it of the lesion. Where clauses disagree, or leave it open,
nothing is known: None is better than a guess.
"""

import re

from dermray.captioning.answers import Answer, Attributes
from dermray.captioning.reading import border, colours, structures, symmetry
from dermray.captioning.reading.clauses import clauses
from dermray.captioning.reading.typography import plain, typed

TONE = re.compile(r"\bskin tone (?:is )?([abc])\b")
TOPICS = re.compile(
    rf"symmetr|border|edge|margin|outline|irregularit|colou?rs?\b|structures?\b"
    rf"|{colours.COLOUR.pattern}|{structures.STRUCTURE.pattern}"
)


def parse(answer: str) -> Answer:
    """Read attributes out of an answer in English, also one that `answers.phrase` did not write."""
    text = colours.spelled(plain(answer))
    tone = TONE.search(text)
    said = list(clauses(TONE.sub("", text), TOPICS))  # whose skin it is, is no colour of a lesion
    attributes = Attributes(
        asymmetry=symmetry.asymmetry(said),
        border_irregular=border.border_irregular(said),
        colours=colours.colours(said),
        skin_tone=tone[1].upper() if tone else None,
        structures=structures.structures(said),
    )
    return Answer(attributes, typed(answer).strip())
