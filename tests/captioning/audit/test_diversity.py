import pytest

from dermray.captioning.audit.diversity import describe, distinct, near_duplicates, self_bleu

VARIED = [
    "asymmetric lesion, irregular border, red and black.",
    "a smooth round papule with one brown colour",
    "symmetric nodule of white and blue-gray tones, regular edge",
    "flat patch without hair near a ruler",
]


def test_distinct_n_is_the_share_of_different_n_grams() -> None:
    assert distinct(["a b a b"], 1) == pytest.approx(2 / 4)
    assert distinct(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct([""], 1) == 0


def test_repeated_captions_are_told_from_varied_ones() -> None:
    same = ["asymmetric lesion, irregular border, red and black."] * 6
    assert self_bleu(same) == pytest.approx(1.0) and near_duplicates(same) == 1.0
    assert self_bleu(VARIED) < 0.2 and near_duplicates(VARIED) == 0.0
    assert near_duplicates([*VARIED, VARIED[1]]) == pytest.approx(2 / 5)


def test_coverage_of_a_b_and_c() -> None:
    # a smooth papule has a smooth surface: nothing is said of its border
    assert describe(VARIED)["coverage"] == {"asymmetry": 0.5, "border": 0.5, "colours": 0.5, "all three": 0.5}
