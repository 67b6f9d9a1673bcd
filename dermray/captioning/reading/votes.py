"""How statements about one thing become one answer."""

import re
from collections.abc import Iterable

from dermray.captioning.reading.clauses import Clause

# A bare noun needs somebody who sees it: "regarding its asymmetry" says nothing of it.
CUES = re.compile(
    r"\b(?:shows?|exhibits?|displays?|demonstrates?|has|have|with|there (?:is|are)|present|seen|noted|evident|visible|"
    r"observed|detected|identified|apparent|notable|marked|clear|obvious|significant|mild|slight|moderate|some|good|preserved|high|pronounced|"
    r"noticeable|in (?:shape|colou?r|structure|outline))\b"
)


def vote(clause: Clause, at: int, value: bool) -> bool | None:
    """`value` where the clause affirms the word at a character, its opposite where it denies it, None where neither."""
    status = clause.status(at)
    return None if status == "unclear" else value == (status == "affirmed")


def unanimous(votes: Iterable[bool | None]) -> bool | None:
    """What all who say something say; None where they disagree or nobody does."""
    said = {value for value in votes if value is not None}
    return said.pop() if len(said) == 1 else None
