import re
import time

import pytest

from dermray.captioning.reading.clauses import Clause, affirmed, clauses

TOPICS = re.compile("asymmetry|border|streaks")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("streaks are seen", "affirmed"),
        ("no streaks are seen", "denied"),
        ("no dots, globules, or streaks are seen", "denied"),
        ("no dots, streaks are seen", "affirmed"),
        ("without dots and streaks", "denied"),
        ("no dots and streaks", "unclear"),
        ("streaks are not seen", "denied"),
        ("dots are seen, streaks are absent", "denied"),
        ("no veil with streaks", "affirmed"),
        ("not entirely streaks", "unclear"),
        ("i cannot identify any streaks", "denied"),
        ("i cannot assess streaks", "unclear"),
        ("possible streaks", "unclear"),
        ("possible dots and streaks", "affirmed"),
        ("streaks may be present", "unclear"),
        ("streaks can be seen", "affirmed"),
        ("melanomas have streaks", "unclear"),
    ],
)
def test_what_a_clause_says_of_a_word(text: str, status: str) -> None:
    assert Clause(text).status(text.index("streaks")) == status


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("asymmetry: absent. border: irregular", [("there is no asymmetry", ""), ("irregular", "border")]),
        ("asymmetry - yes, clearly", [("there is asymmetry", ""), ("clearly", "asymmetry")]),
        ("border:\nirregular\nred", [("irregular", "border"), ("red", "")]),
        ("are there streaks? dots.", [("dots", "")]),
        ("not only red but black", [("red", ""), ("black", "")]),
        ("absent: streaks, dots", []),
        ("it isn't red and it can't grow", [("it is not red", ""), ("it cannot grow", "")]),
    ],
)
def test_sentences_are_cut_into_clauses(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(" ".join(c.text.split()), c.topic) for c in clauses(text, TOPICS)] == expected


def test_affirmed_words() -> None:
    words = affirmed(clauses("no red, but black; white may be seen"), re.compile("red|black|white"))
    assert [word.group() for word in words] == ["black"]


@pytest.mark.parametrize("text", ["not " * 1000 + "red, " * 1000, "i cannot " * 500, "is " * 2000, "no a, " * 500])
def test_answers_without_end_are_read_in_time(text: str) -> None:
    """A small captioner repeats itself; no pattern may take more than about a square of its length."""
    started = time.process_time()
    for clause in clauses(text):
        clause.status(len(clause.text) - 1)
    assert time.process_time() - started < 5
