import random

import pytest

from benchmarks.reading_answers import rows
from dermray.captioning.answers import phrase
from dermray.captioning.reading.refusals import refuses
from dermray.datasets.renderer import draw_phantoms
from dermray.vlm.lessons import attributes_of

REFUSALS, CAPTIONS = (
    {half: [row["text"] for row in rows(name) if row["half"] == half] for half in ("development", "held back")}
    for name in ("refusals", "captions")
)


@pytest.mark.parametrize("half", ["development", "held back"])
def test_refusals_are_found_and_captions_are_not(half: str) -> None:
    missed = [text for text in REFUSALS[half] if not refuses(text)]
    alarms = [text for text in CAPTIONS[half] if refuses(text)]
    assert len(missed) <= 0.05 * len(REFUSALS[half]), missed
    assert len(alarms) <= 0.01 * len(CAPTIONS[half]) + 1, alarms


def test_captions_of_phantoms_are_no_refusals() -> None:
    captions = {phrase(attributes_of(truth)) for truth, _ in draw_phantoms(0, 200, 16)}
    assert len(captions) > 100 and not any(map(refuses, captions))


@pytest.mark.parametrize("refusal", random.Random(0).sample(REFUSALS["development"], 12))
def test_a_refusal_is_one_wherever_it_stands_and_whatever_its_apostrophes(refusal: str) -> None:
    for form in (refusal.replace("'", "’"), f"**{refusal}**", f"Thank you for the picture. {refusal}", refusal.upper()):
        assert refuses(form), form


def test_a_disclaimer_before_a_description_is_none() -> None:
    disclaimer = "I’m not a doctor and can’t provide a diagnosis."
    assert refuses(disclaimer)
    assert not refuses(f"{disclaimer} The mole is asymmetric with an irregular border.")
    assert refuses(f"{disclaimer} Melanomas are often asymmetric with an irregular border.")


@pytest.mark.parametrize(
    "caption",
    [
        "I cannot assess the depth of the lesion. It is red.",
        "I cannot evaluate whether it is raised. The lesion is red.",
        "A bump on the arm. I do not see anything else.",
        "A firm bump that is fixed and cannot be moved.",
        "I cannot identify any streaks.",
    ],
)
def test_what_cannot_be_seen_is_no_refusal(caption: str) -> None:
    assert not refuses(caption)
