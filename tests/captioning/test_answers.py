import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.captioning.answers import Answer, Attributes, parse, phrase, quotes, unusable
from dermray.captioning.compose import compose
from dermray.captioning.prompts import structured
from dermray.records import COLOURS, SKIN_TONES, STRUCTURES

ATTRIBUTES = st.builds(
    Attributes,
    asymmetry=st.one_of(st.none(), st.booleans()),
    border_irregular=st.one_of(st.none(), st.booleans()),
    colours=st.sets(st.sampled_from(COLOURS), max_size=4).map(lambda s: tuple(c for c in COLOURS if c in s)),
    skin_tone=st.one_of(st.none(), st.sampled_from(SKIN_TONES)),
    structures=st.sets(st.sampled_from(STRUCTURES), max_size=3).map(lambda s: tuple(c for c in STRUCTURES if c in s)),
)


@given(ATTRIBUTES)
def test_parse_reads_back_what_phrase_writes(attributes: Attributes) -> None:
    assert parse(phrase(attributes)).attributes == attributes


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The mole is not symmetric; it shows an irregular border and black and blue-grey areas.", (None, True)),
        ("A symmetrical papule with a well-defined, smooth edge. Colour: light brown.", (False, False)),
        ("Marked asymmetry. Border: irregular.", (True, True)),
        ("It is asymmetric, not symmetric, with no irregular border, smooth throughout.", (True, False)),
        ("A picture of a mole.", (None, None)),
    ],
)
def test_answers_in_other_words(answer: str, expected: tuple[bool | None, bool | None]) -> None:
    said = parse(answer).attributes
    assert (said.asymmetry, said.border_irregular) == expected


@pytest.mark.parametrize(
    ("answer", "finish", "reason"),
    [
        ("", "stop", "empty"),
        ("   ", "stop", "empty"),
        ("asymmetric lesion, red", "length", "truncated answer"),
        ("I'm sorry, I cannot help with medical images.", "stop", "refusal"),
        ("asymmetric red and red and red and red and red and red and red and red and red", "stop", "repetition"),
        ("I cannot provide a medical assessment of this image.", "stop", "refusal"),
        ("It is asymmetric.", "content_filter", "refusal"),
        ("asymmetric lesion, irregular border, red and black.", "stop", None),
    ],
)
def test_unusable_answers_have_a_reason(answer: str, finish: str, reason: str | None) -> None:
    found = unusable(answer, finish)
    assert found is None if reason is None else reason in (found or "")


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


KNOWN = {"label": "malignant", "age": "55", "sex": "male"}


@pytest.mark.parametrize(
    ("answer", "quoted"),
    [
        ("According to the metadata, the lesion is malignant.", True),
        ("The internal context says so.", True),
        ("Given the patient's information it may grow. Age: 55.", True),
        ("A lesion in a 55-year-old man.", True),
        ("The border is irregular and the colours are given by pigment.", False),
        ("About 155 dots are seen; in context of hair, contrast is low.", False),
    ],
)
def test_answers_that_quote_the_internal_context_are_found(answer: str, quoted: bool) -> None:
    assert quotes(answer, KNOWN) is quoted


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
