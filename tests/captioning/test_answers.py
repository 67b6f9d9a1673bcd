import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.captioning.answers import Answer, Attributes
from dermray.captioning.compose import compose
from dermray.captioning.prompts import structured
from dermray.captioning.reading import parse
from dermray.records import COLOURS, SKIN_TONES, STRUCTURES

ATTRIBUTES = st.builds(
    Attributes,
    asymmetry=st.one_of(st.none(), st.booleans()),
    border_irregular=st.one_of(st.none(), st.booleans()),
    colours=st.sets(st.sampled_from(COLOURS), max_size=4).map(lambda s: tuple(c for c in COLOURS if c in s)),
    skin_tone=st.one_of(st.none(), st.sampled_from(SKIN_TONES)),
    structures=st.sets(st.sampled_from(STRUCTURES), max_size=3).map(lambda s: tuple(c for c in STRUCTURES if c in s)),
)


def test_a_caption_joins_metadata_with_the_answer() -> None:
    row = {"malignant": True, "entity": "mel", "skin_tone": "B", "age": 57.0, "sex": None, "site": "back"}
    said = Attributes(True, True, ("red", "black"), "A")
    assert compose(row, Answer(said, ""), False, ("malignant", "entity", "skin_tone", "sex", "age", "site")) == (
        "malignant, melanoma, skin tone B, age 50 to 59, back: asymmetric lesion, irregular border, red and black."
    )


def test_the_captioners_tone_is_used_where_metadata_has_none_and_nothing_is_called_nan() -> None:
    said = Attributes(False, False, ("red",), "C")
    caption = compose(
        {"malignant": None, "skin_tone": None, "age": None}, Answer(said, ""), False, ("malignant", "skin_tone", "age")
    )
    assert caption == "symmetric lesion, smooth border, red, skin tone C."


@given(ATTRIBUTES, st.booleans(), st.sampled_from(SKIN_TONES))
def test_attributes_survive_in_the_caption(said: Attributes, malignant: bool, tone: str) -> None:
    row = {"malignant": malignant, "skin_tone": tone}
    read = parse(compose(row, Answer(said, ""), False, ("malignant", "skin_tone"))).attributes
    assert read == Attributes(said.asymmetry, said.border_irregular, said.colours, tone, said.structures)


def test_sets_that_ask_for_sentences_keep_them() -> None:
    answer = parse("A dark, asymmetric patch on the arm.")
    assert compose({"sex": "male"}, answer, True, ("sex",)) == "male: A dark, asymmetric patch on the arm."
    curly = parse("It’s an asymmetric​ patch of 5 mm².")
    assert compose({}, curly, True, ()) == "It's an asymmetric patch of 5 mm²."


def test_structured_answers_are_read_by_their_schema() -> None:
    said = structured.read(
        '{"asymmetry": "asymmetric", "border": "smooth", "colours": ["black", "red"], "structures": ["streaks"], '
        '"skin_tone": "B", "description": "Dark streaks at the edge."}'
    )
    assert said.attributes == Attributes(True, False, ("red", "black"), "B", ("streaks",))
    assert said.text == "Dark streaks at the edge."
    for wrong, reason in (
        ("asymmetric", "invalid JSON"),
        ('{"asymmetry": "asymmetric"', "invalid JSON"),
        ('{"asymmetry": "yes"}', "outside its schema"),
    ):
        with pytest.raises(ValueError, match=reason):
            structured.read(wrong)
