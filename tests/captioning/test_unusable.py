import pytest

from dermray.captioning.unusable import quotes, unusable


@pytest.mark.parametrize(
    ("answer", "finish", "reason"),
    [
        ("", "stop", "empty"),
        ("   ", "stop", "empty"),
        ("asymmetric lesion, red", "length", "truncated answer"),
        ("I'm sorry, I cannot help with medical images.", "stop", "refusal"),
        ("I’m sorry, but I can’t assist with that.", "stop", "refusal"),
        ("This is skin. Unfortunately, I won’t be able to describe it.", "stop", "refusal"),
        ("asymmetric red and red and red and red and red and red and red and red and red", "stop", "repetition"),
        ("I cannot provide a medical assessment of this image.", "stop", "refusal"),
        ("It is asymmetric.", "content_filter", "refusal"),
        ("asymmetric lesion, irregular border, red and black.", "stop", None),
        ('[{"question": "Can you describe the mole?", "answer": "It is red."}]', "stop", None),
    ],
)
def test_unusable_answers_have_a_reason(answer: str, finish: str, reason: str | None) -> None:
    told = unusable(answer, finish)
    assert told is None if reason is None else reason in (told or "")


KNOWN = {"label": "malignant", "age": "55", "sex": "male"}


@pytest.mark.parametrize(
    ("answer", "quoted"),
    [
        ("According to the metadata, the lesion is malignant.", True),
        ("According to the **meta‑data**, it is malignant.", True),
        ("The internal context says so.", True),
        ("Given the patient’s information it may grow.", True),
        ("Given the patient's information it may grow. Age: 55.", True),
        ("A lesion in a 55-year-old man.", True),
        ("A lesion in a 55‑year‑old man.", True),
        ("The border is irregular and the colours are given by pigment.", False),
        ("About 155 dots are seen; in context of hair, contrast is low.", False),
    ],
)
def test_answers_that_quote_the_internal_context_are_found(answer: str, quoted: bool) -> None:
    assert quotes(answer, KNOWN) is quoted


@pytest.mark.parametrize(
    "answer",
    ["I'm not going to describe this image.", "My guidelines prevent me from describing medical images.",
     "It is not appropriate for me to analyse this.", "I have to refrain from analysing this.",
     "That’s not something I can do.", "I only handle text.", "No can do.", "[I cannot assist with that]"],
)  # fmt: skip
def test_refusals_that_a_new_user_found(answer: str) -> None:
    assert unusable(answer, "stop") == "refusal"
