"""Prompts that differ in one attribute."""

import pytest

from dermray.classification.audit.wording import Attribute

TONE, SEX = Attribute.of("skin_tone", "ABC"), Attribute.of("sex", ("female", "male"))
SITE = Attribute.of("site", ("back", "arm", "upper arm"))


@pytest.mark.parametrize(
    ("attribute", "prompt", "own", "value", "changed"),
    [
        (TONE, "benign, skin tone A: Skin  tone A, black.", "A", "C", "benign, skin tone C: Skin tone C, black."),
        (TONE, "benign, skin tone A: border.", "A", "A", "benign, skin tone A: border."),
        (SEX, "Female, age 40: a woman's back.", "female", "male", "Male, age 40: a man's back."),
        (SITE, "on the upper arm of a man", "upper arm", "back", "on the back of a man"),
        (SITE, "light background, Arm: warm", "arm", "upper arm", "light background, Upper arm: warm"),
    ],
)
def test_one_attribute_is_changed_and_no_other_word(
    attribute: Attribute, prompt: str, own: str, value: str, changed: str
) -> None:
    assert attribute.value_in(prompt) == own
    assert attribute.changed(prompt, value) == changed
    assert attribute.value_in(changed) == value


@pytest.mark.parametrize(
    ("attribute", "prompt"),
    [
        (TONE, "tone A, skin tone D, a skin tone"),
        (TONE, "skin tone A beside skin tone B"),
        (SEX, "females, a human, demands"),
        (SITE, "background"),
    ],
)
def test_a_prompt_that_names_none_or_two_has_no_value(attribute: Attribute, prompt: str) -> None:
    assert attribute.value_in(prompt) is None


def test_as_far_as_the_first_mention() -> None:
    assert TONE.up_to_first("benign, skin tone B: a lesion on skin tone B") == "benign, skin tone B"


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("age", ("old", "young"), "attributes.age: expected one of skin_tone, sex, site"),
        ("skin_tone", ("A", "D"), "attributes.skin_tone: D: expected some of A, B, C"),
        ("sex", ("female",), "at least two values"),
        ("site", ("back", "Back"), "each once"),
    ],
)
def test_what_cannot_be_changed(name: str, values: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Attribute.of(name, values)
