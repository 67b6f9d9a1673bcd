from itertools import combinations

import pytest

from dermray.captioning.answers import Attributes, phrase
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.records import COLOURS
from dermray.vlm.vqa.questions import QUESTIONS, colours_in_words
from dermray.vlm.vqa.squad import exact_match, normalised


@pytest.mark.parametrize(
    ("question", "answer", "said"),
    [
        ("malignant", "Yes, it is.", "yes"),
        ("malignant", "This is not malignant.", "no"),
        ("malignant", "The lesion looks benign.", "no"),
        ("malignant", "It could be malignant or benign.", None),
        ("asymmetry", "No.", "no"),
        ("border", "asymmetric lesion, smooth border, red.", "no"),
        ("colours", "It is red and light brown.", "red, light brown"),
        ("skin_tone", "light brown", None),
        ("skin_tone", "The skin is medium.", "medium"),
        ("skin_tone", "Fitzpatrick VI", "dark"),
        ("site", "It is on the left forearm.", "upper limb"),
        ("modality", "Clinical.", "clinical"),
        ("diagnosis", "This is a nevus, not a melanoma.", "nevus"),
        ("diagnosis", "A nevus or a melanoma", None),
        ("diagnosis", "I see a picture.", None),
    ],
)
def test_answers_are_read(question: str, answer: str, said: str | None) -> None:
    assert QUESTIONS[question].read(answer) == said


def truths(question: str) -> set[str]:
    rows = [phantom_row(i, SourceConfig(count=40, size=16, broken=0, duplicates=0)) for i in range(40)]
    rows += [{"entity": e, "modality": "clinical"} for e in ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")]
    rows += [{"site": site} for site in ("left forearm", "scalp", "back", "lower extremity", "vulva")]
    rows += [{"true_colours": list(some)} for n in range(1, 7) for some in combinations(COLOURS, n)]
    return {truth for row in rows if (truth := QUESTIONS[question].truth(row)) is not None}


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_right_answer_is_read_as_itself_and_survives_normalisation(question: str) -> None:
    found = truths(question)
    assert len(found) > 1
    for truth in found:
        assert QUESTIONS[question].read(truth) == truth and QUESTIONS[question].read(f"{truth.capitalize()}.") == truth
        assert normalised(truth) and exact_match(f"The {truth}.", truth)
    assert len({normalised(truth) for truth in found}) == len(found)


def test_a_sentence_of_the_nano_captioner_answers_four_questions() -> None:
    text = phrase(Attributes(True, False, ("light brown", "black"), skin_tone="C"))
    said = {name: QUESTIONS[name].read(text) for name in ("asymmetry", "border", "colours", "skin_tone")}
    assert said == {"asymmetry": "yes", "border": "no", "colours": "light brown, black", "skin_tone": "dark"}


def test_an_estimated_tone_is_no_truth() -> None:
    assert QUESTIONS["skin_tone"].truth({"skin_tone": "A", "skin_tone_source": "estimated"}) is None
    assert QUESTIONS["skin_tone"].truth({"skin_tone": "A", "skin_tone_source": "metadata"}) == "light"
    assert colours_in_words(["black", "white"]) == "white, black"
