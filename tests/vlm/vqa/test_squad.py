"""Against torchmetrics' port of SQuAD's evaluation, and the cases in which v2.0's own differs from it."""

import pytest
from torchmetrics.functional.text import squad

from dermray.vlm.vqa.squad import exact_match, normalised, token_f1

PAIRS = [
    ("Yes.", "yes"),
    ("Yes, the lesion is malignant.", "yes"),
    ("It has an irregular border", "the irregular border"),
    ("red, light-brown and black", "red, light brown, black"),
    ("melanoma", "nevus"),
    ("a red red red lesion", "red lesion on a red patch"),
    ("The Basal-Cell  Carcinoma!", "basal cell carcinoma"),
    ("Santa Clara, California", "Santa Clara"),
    ("the\nlesion", "lesion"),
]


@pytest.mark.parametrize(("answer", "gold"), PAIRS)
def test_as_torchmetrics(answer: str, gold: str) -> None:
    theirs = squad(
        {"prediction_text": answer, "id": "1"}, {"answers": {"answer_start": [0], "text": [gold]}, "id": "1"}
    )
    assert 100 * exact_match(answer, gold) == float(theirs["exact_match"])
    assert 100 * token_f1(answer, gold) == pytest.approx(float(theirs["f1"]), abs=1e-4)


def test_where_a_text_has_no_token() -> None:
    assert normalised("A") == "", "so no truth of ours may be an article"
    assert token_f1("", "yes") == 0.0 and token_f1("the", "a") == 1.0  # evaluate-v2.0.py: equal, or nothing
