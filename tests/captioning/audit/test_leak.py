import numpy as np
import pytest

from dermray.captioning.audit.leak import label_leak
from dermray.captioning.audit.mentions import names_the_diagnosis


def texts(leak: float, count: int = 240) -> tuple[list[str], np.ndarray, list[str]]:
    """Captions of random words; a share `leak` of them says the label in a word of its own. Two rows a patient."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.random(count // 2) < 0.4, 2)
    words = np.array(["red", "black", "brown", "irregular", "smooth", "border", "network", "dots", "large", "small"])
    said = [" ".join(rng.choice(words, 5)) for _ in range(count)]
    said = [
        f"{text} {'ominous' if y else 'harmless'}" if rng.random() < leak else text
        for text, y in zip(said, labels, strict=True)
    ]
    return said, labels, [f"g{i // 2}" for i in range(count)]


def test_a_leak_stands_above_the_floor_and_none_does_not() -> None:
    leaking, honest = label_leak(*texts(0.9), 5, 0), label_leak(*texts(0.0), 5, 0)
    assert leaking["auc"] > 0.85 and leaking["low"] > leaking["floor_high"]
    assert honest["low"] < honest["floor_high"] and honest["low"] < 0.5 < honest["high"]
    for found in (leaking, honest):
        assert found["low"] <= found["auc"] <= found["high"] and 0.42 < found["floor"] < 0.58


def test_words_that_name_a_patient_are_no_leak() -> None:
    """Both rows of a patient share a name: without grouped folds the second would be known from the first."""
    said, labels, groups = texts(0.0)
    named = [f"{text} patient{group}" for text, group in zip(said, groups, strict=True)]
    assert label_leak(named, labels, groups, 5, 0)["low"] < 0.5


def test_too_few_groups_are_not_measured() -> None:
    found = label_leak(["a b", "c d"] * 4, np.array([True, False] * 4), ["x", "y"] * 4, 5, 0)
    assert "1 leak groups in the rarer class" in found["reason"]


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("This looks like a melanoma.", {}, True),
        ("Benign appearance.", {}, True),
        ("No sign of a **mela​noma**.", {}, True),
        ("Multiple naevi and a nevus.", {}, True),
        ("An asymmetric brown patch.", {"diagnosis": "nv", "entity": "nv"}, False),
        ("A case of lichen planus.", {"diagnosis": "lichen planus"}, True),
    ],
)
def test_literal_mentions(text: str, row: dict[str, str], expected: bool) -> None:
    assert names_the_diagnosis(text, row) is expected
