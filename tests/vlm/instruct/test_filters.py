import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.vlm.instruct.context import context
from dermray.vlm.instruct.filters import judge, repeats, similarity, words
from dermray.vlm.instruct.hallucinations import hallucinated

ROW = {
    "malignant": False, "entity": "nv", "diagnosis": "nv", "skin_tone": "A", "sex": "female", "age": 45.0,
    "site": "back", "modality": "dermoscopic",
}  # fmt: skip
UNKNOWN = dict.fromkeys(ROW) | {"modality": "dermoscopic"}

GOOD = [
    "A symmetric, brown lesion with a regular pigment network that fades at its border.",
    "The structures are consistent with a melanocytic nevus; melanoma should be excluded by follow-up.",
    "The differential diagnosis includes melanoma and seborrheic keratosis.",
    "There is no sign of melanoma.",
    "This could be a basal cell carcinoma, but arborising vessels are absent.",
    "The lesion appears benign, with even colour.",
    "A lesion with several shades of brown on fair skin of the back.",
    "Compared with a melanoma, the network is regular.",
    "Such lesions are more common in women.",
    "A history would help to judge this lesion.",
    "The border stands out against the skin tone. A brown network fades at its edge.",
    "I cannot give a diagnosis from an image alone, but the lesion is symmetric, brown and sharply bordered.",
]
BAD = [
    ("", "empty answer"),
    ("   ", "empty answer"),
    ("I'm sorry, I can't assist with that.", "refusal"),
    ("As an AI I am unable to view images.", "refusal"),
    (" ".join(["dark brown network and"] * 12), "repetition loop"),
    ("According to the metadata this is benign.", "quotes the internal context"),
    ("The internal context says that the lesion is on the back.", "quotes the internal context"),
    ("Brown lesion; anatomical site: back.", "quotes the internal context"),
    ("A brown lesion in a 45-year-old patient.", "quotes the internal context"),
    ("skin tone A.", "quotes the internal context"),
    ("A brown lesion; the skin tone is of type A, with a regular border.", "quotes the internal context"),
    ("This female patient has a brown, symmetric lesion.", "quotes the internal context"),
    ("A brown lesion of a 70-year-old patient.", "contradicts the metadata: age"),
    ("This male patient has a brown lesion.", "contradicts the metadata: sex"),
    ("A brown lesion on dark skin.", "contradicts the metadata: skin tone"),
    ("A brown lesion on the cheek.", "contradicts the metadata: site"),
    ("The lesion is a melanoma.", "contradicts the metadata: diagnosis"),
    ("The findings are consistent with a superficial spreading melanoma.", "contradicts the metadata: diagnosis"),
    ("This lesion is malignant.", "contradicts the metadata: malignancy"),
    ("The patient reports itching, and the lesion is brown.", "states what no image shows: history"),
    ("A brown lesion that has been present for two years.", "states what no image shows: history"),
    ("The patient has a family history of melanoma.", "states what no image shows: history"),
]


@pytest.mark.parametrize("answer", GOOD)
def test_what_may_be_learned_from(answer: str) -> None:
    assert judge(answer, ROW, context(ROW)) is None


@pytest.mark.parametrize(("answer", "reason"), BAD)
def test_what_may_not(answer: str, reason: str) -> None:
    assert judge(answer, ROW, context(ROW)) == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("An elderly man with a brown lesion.", "states what no image shows: age"),
        ("A brown lesion of a woman.", "states what no image shows: sex"),
        ("A brown lesion on dark skin of the cheek.", None),
        ("The lesion is a melanoma.", None),
        ("This lesion is malignant.", None),
    ],
)
def test_where_nothing_is_known_only_what_no_image_shows_is_rejected(answer: str, reason: str | None) -> None:
    assert judge(answer, UNKNOWN, context(UNKNOWN)) == reason


def test_a_code_that_the_model_was_not_told_is_no_quotation() -> None:
    assert judge("skin tone A.", ROW, context(ROW, ["modality"])) is None
    assert judge("skin tone B.", ROW, context(ROW, ["modality"])) == "contradicts the metadata: skin tone"


@pytest.mark.parametrize(
    ("diagnosis", "entity", "malignant", "answer", "right"),
    [
        ("melanoma", "mel", True, "This is an invasive melanoma.", True),
        ("Melanoma in situ", "mel", True, "This is a nevus.", False),
        ("squamous cell carcinoma", "other", True, "The lesion is a squamous cell carcinoma.", True),
        ("squamous cell carcinoma", "other", True, "The lesion is a basal cell carcinoma.", False),
        ("akiec", "akiec", True, "This represents squamous cell carcinoma in situ.", True),
        ("pyogenic granuloma", "vasc", False, "The lesion is a pyogenic granuloma.", True),
        ("seborrheic keratosis", "bkl", False, "This is a benign lesion.", True),
        ("bcc", "bcc", True, "This is a benign lesion.", False),
        (None, None, None, "This is a benign lesion.", True),
    ],
)
def test_diagnoses_against_those_of_the_row(
    diagnosis: str | None, entity: str | None, malignant: bool | None, answer: str, right: bool
) -> None:
    row = {"diagnosis": diagnosis, "entity": entity, "malignant": malignant}
    assert (hallucinated(answer, row) is None) == right


@given(sex=st.sampled_from(["female", "male"]), other=st.sampled_from(["female", "male"]))
def test_a_stated_sex_is_never_kept(sex: str, other: str) -> None:
    answer = f"A brown lesion of a {other} patient with a regular network."
    expected = "quotes the internal context" if sex == other else "contradicts the metadata: sex"
    assert judge(answer, ROW | {"sex": sex}, {}) == expected


@given(age=st.integers(0, 110), said=st.integers(1, 110))
def test_a_stated_age_is_never_kept(age: int, said: int) -> None:
    reason = judge(f"A brown lesion of a {said}-year-old patient.", ROW | {"age": float(age)}, {})
    assert reason in ("quotes the internal context", "contradicts the metadata: age")
    assert (reason == "contradicts the metadata: age") == (abs(age - said) > 5)


@given(st.text(max_size=300))
def test_any_text_has_a_verdict(answer: str) -> None:
    reason = judge(answer, ROW, context(ROW))
    assert reason is None or reason
    assert (judge(answer, ROW, context(ROW)) == reason) and (answer.strip() != "" or reason == "empty answer")


def test_duplicates_within_an_image() -> None:
    one = "The lesion is symmetric, with a regular border and two shades of brown."
    assert repeats(one, [], 0.7) is None
    assert repeats(one.upper().replace(",", ""), [one], 0.7) == "repeats another answer"
    assert repeats(one + " It fades.", ["Something else.", one], 0.7) == "nearly repeats another answer"
    assert repeats("A pigment network is absent, and streaks are not seen.", [one], 0.7) is None
    assert repeats("Yes.", ["No."], 0.7) is None


@given(st.lists(st.sampled_from(["brown", "red", "network", "border"]), min_size=1, max_size=12), st.integers(0, 11))
def test_similarity_is_symmetric_and_one_of_equals(said: list[str], cut: int) -> None:
    part = said[: cut + 1]
    assert similarity(said, said) == 1 and similarity(said, part) == similarity(part, said)
    assert 0 <= similarity(said, part) <= 1 and words(" ".join(said) + ".") == said
