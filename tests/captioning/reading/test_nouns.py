import re

import pytest

from dermray.captioning.reading.clauses import Clause
from dermray.captioning.reading.nouns import described

ADJECTIVES = re.compile(r"\b(?:irregular|notched|smooth)\b")


@pytest.mark.parametrize(
    ("clause", "noun"),
    [
        (Clause("irregular, notched and rough borders"), "border"),
        (Clause("the borders of the mole are irregular"), "border"),
        (Clause("the border of the lesion, seen at the top, is irregular"), "border"),
        (Clause("a lesion with an edge that is irregular"), "border"),
        (Clause("irregular network at the border"), "other"),
        (Clause("irregular follicles"), "other"),
        (Clause("the surface is irregular and scaly"), "other"),
        (Clause("irregular", "border"), "border"),
        (Clause("irregular", "", ("the border is not smooth",)), "border"),
        (Clause("irregular"), None),
    ],
)
def test_of_what_an_adjective_is_said(clause: Clause, noun: str | None) -> None:
    word = re.search("irregular", clause.text)
    assert word is not None and described(clause, word, ADJECTIVES) == noun
