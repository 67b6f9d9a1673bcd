"""What is read out of answers. The lists beside this file were labelled by hand before the rules were written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.reading_answers import judge, rows
from dermray.captioning.answers import Attributes, phrase
from dermray.captioning.reading import parse
from dermray.records import COLOURS
from tests.captioning.test_answers import ATTRIBUTES


@settings(deadline=None)  # a busy machine
@given(ATTRIBUTES)
def test_parse_reads_back_what_phrase_writes(attributes: Attributes) -> None:
    assert parse(phrase(attributes)).attributes == attributes


@settings(deadline=None)
@given(ATTRIBUTES, st.data())
def test_a_phrase_cut_short_says_nothing_that_the_whole_did_not_say(
    attributes: Attributes, data: st.DataObject
) -> None:
    whole = phrase(attributes)
    said = parse(whole[: data.draw(st.integers(0, len(whole)))]).attributes
    assert said.asymmetry in (None, attributes.asymmetry)
    assert said.border_irregular in (None, attributes.border_irregular)
    assert set(said.colours) <= set(attributes.colours) and set(said.structures) <= set(attributes.structures)


@pytest.mark.parametrize(
    ("answer", "asymmetry", "border_irregular"),
    [
        ("There is no significant asymmetry.", False, None),
        ("asymmetry: absent", False, None),
        ("The border is not well-defined.", None, True),
        ("The mole is not symmetric; it shows an irregular border and black and blue-grey areas.", True, True),
        ("A symmetrical papule with a well-defined, smooth edge. Colour: light brown.", False, False),
        ("Marked asymmetry. Border: irregular.", True, True),
        ("It is asymmetric, not symmetric, with no irregular border, smooth throughout.", True, False),
        ("A picture of a mole.", None, None),
    ],
)
def test_answers_in_other_words(answer: str, asymmetry: bool | None, border_irregular: bool | None) -> None:
    said = parse(answer).attributes
    assert (said.asymmetry, said.border_irregular) == (asymmetry, border_irregular)


def test_neither_red_nor_black() -> None:
    assert parse("It is neither red nor black.").attributes == Attributes()


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_is_affirmed_and_denied(colour: str) -> None:
    assert parse(f"The lesion is {colour}.").attributes.colours == (colour,)
    assert parse(f"The lesion is not {colour}.").attributes.colours == ()


@pytest.mark.parametrize("half", ["development", "held back"])
def test_statements_are_read_as_they_were_labelled(half: str) -> None:
    statements = [row for row in rows("statements") if row["half"] == half]
    assert len(statements) >= 100
    counts = judge(lambda text: parse(text).attributes, statements)["sentences"]
    assert counts["wrong"] <= 0.03 * len(statements) and counts["right"] >= 0.9 * len(statements), counts


def test_statements_by_which_the_rules_were_tuned() -> None:
    statements = rows("tuned_statements")
    counts = judge(lambda text: parse(text).attributes, statements)["sentences"]
    assert counts["wrong"] <= 0.08 * len(statements) and counts["right"] >= 0.9 * len(statements), counts
