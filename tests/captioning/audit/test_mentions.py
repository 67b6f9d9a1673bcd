from typing import Any

import pytest

from dermray.captioning.audit.mentions import compare, rates

ROW = {"skin_tone": "A", "sex": "female", "age": 45.0, "site": "lower extremity", "modality": "dermoscopic"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A brown macule.", {}),
        ("A lesion on skin tone A.", {"skin_tone": True}),
        ("Fitzpatrick type V skin.", {"skin_tone": False}),
        ("Fitzpatrick skin type II.", {"skin_tone": True}),
        ("On fair skin of a woman.", {"skin_tone": True, "sex": True}),
        ("A dark brown lesion on dark skin.", {"skin_tone": False}),
        ("The lesion of this male patient.", {"sex": False}),
        ("A 47-year-old.", {"age": True}),
        ("A 70 year old man.", {"age": False, "sex": False}),
        ("In her 40s.", {"age": True}),
        ("An elderly patient.", {"age": False}),
        ("On the leg.", {"site": True}),
        ("On the left forearm.", {"site": False}),
        ("Dermoscopy shows dots.", {"modality": True}),
        ("A clinical photograph of a nodule.", {"modality": False}),
        ("Background pigment, armed streaks, maleficent.", {}),
        ("This is not a female.", {}),
        ("The patient isn’t a man but a woman.", {"sex": True}),
        ("Is this a man?", {}),
        ("It could be a man.", {}),
        ("No sign of dermoscopy.", {}),
        ("A light brown lesion on the back of the patient.", {"site": False}),
        ("A light brown lesion on the back of the knee.", {"site": True}),
        ("On the other hand, it is flat. On the left-hand side it is red.", {}),
        ("A dark skin lesion, or a black skin tag.", {}),
        ("Fitzpatrick types II–III.", {"skin_tone": True}),
        ("Fitzpatrick type III or IV.", {"skin_tone": False}),
        ("A 2-year-old lesion.", {}),
    ],
)
def test_what_is_said_is_held_against_the_metadata(answer: str, expected: dict[str, bool]) -> None:
    judged = {name: verdict for name, verdict in compare(answer, ROW).items() if verdict is not None}
    assert judged == expected


def test_unknown_metadata_cannot_be_contradicted() -> None:
    row: dict[str, Any] = dict.fromkeys(ROW)
    assert set(compare("A 50-year-old man with dark skin, on the back.", row).values()) == {None}


def test_rates_count_what_was_known_said_and_wrong() -> None:
    rows = [ROW | {"answer": text} for text in ("A woman.", "A man.", "A lesion.", "She is a woman of fair skin.")]
    found = rates(rows)
    assert found["sex"] == {"known": 4, "mentioned": 3, "contradicted": 1, "contradiction_rate": 1 / 3, "echoed": 0.5}
    elsewhere = [ROW | {"answer": "On the leg.", "site": site} for site in ("lower extremity", "unknown", None)]
    assert rates(elsewhere)["site"] | {"mentioned": 1, "known": 1, "echoed": 1.0} == rates(elsewhere)["site"]
    assert found["skin_tone"]["echoed"] == 0.25 and found["age"]["mentioned"] == 0
