"""Words that readers may write."""

import pytest

from dermray.reader_study.questions import ENTITY_MEANINGS, questions
from dermray.records import ENTITIES

ENTITY, ORIGIN = questions("entity", ENTITIES)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("mel", "mel"), (" MEL ", "mel"), ("Melanoma", "mel"), ("actinic keratosis", "akiec"), ("AKIEC", "akiec"),
        ("Actinic  Keratosis", "akiec"), ("naevus", "nv"), ("Melanocytic nevi", "nv"), ("Bowen's disease", "akiec"),
        ("seborrheic-keratosis", "bkl"), ("dermatofibroma", "df"), ("Basal cell carcinoma", "bcc"), ("angioma", "vasc"),
    ],
)  # fmt: skip
def test_entities(word: str, meant: str) -> None:
    assert ENTITY.classes[ENTITY.number(word)] == meant


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("AI", "AI"),
        ("ai", "AI"),
        ("AI-generated", "AI"),
        ("Synthetic", "AI"),
        ("ORIGINAL", "original"),
        ("real", "original"),
    ],
)
def test_origins(word: str, meant: str) -> None:
    assert ORIGIN.classes[ORIGIN.number(word)] == meant


@pytest.mark.parametrize("word", ["melanom", "squamous cell carcinoma", "other", "1", "AI"])
def test_other_words_are_refused_with_the_known_ones(word: str) -> None:
    with pytest.raises(ValueError, match=rf"entity='{word}': no known answer; expected one of akiec \(actinic.*, vasc"):
        ENTITY.number(word)


def test_no_word_is_taken_for_a_class_that_was_not_asked() -> None:
    fewer, _ = questions("entity", ("mel", "nv"))
    with pytest.raises(ValueError, match=r"entity='bcc': no known answer; expected one of mel \(melanoma\), nv"):
        fewer.number("bcc")


def test_other_columns() -> None:
    malignant, _ = questions("malignant", ("benign", "malignant"))
    assert [malignant.number(word) for word in ("Malignant", "yes", "TRUE", "benign", "0")] == [1, 1, 1, 0, 0]
    tone, _ = questions("skin_tone", ("A", "B", "C"))
    assert tone.number("b") == 1 and tone.meanings == ["", "", ""]
    with pytest.raises(ValueError, match="skin_tone='D': no known answer; expected one of A, B, C"):
        tone.number("D")


def test_every_entity_has_a_meaning() -> None:
    assert ENTITY_MEANINGS.keys() == set(ENTITIES)
