import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.classification.arms import ARMS, arm, choose, stratified_order

REAL = np.random.default_rng(0).random(400) < 0.3
DRAWN = np.random.default_rng(1).random(300) < 0.5


@given(st.integers(0, 500))
def test_arms_of_one_seed_share_their_images(seed: int) -> None:
    few, drawn, labels = choose(arm("real + synthetic 1:1"), REAL, DRAWN, 50, seed)
    double = choose(arm("real + synthetic 1:2"), REAL, DRAWN, 50, seed)
    more = choose(arm("more real"), REAL, DRAWN, 50, seed)
    assert np.array_equal(few, double[0]) and np.array_equal(few, more[0][:50]) and len(more[0]) == 150
    assert np.array_equal(drawn, double[1][:50]) and len(double[1]) == 100
    assert np.array_equal(labels, np.concatenate([REAL[few], DRAWN[drawn]]))


def test_only_synthetic_labels_are_shuffled() -> None:
    real, drawn, labels = choose(arm("shuffled labels"), REAL, DRAWN, 60, 3)
    assert np.array_equal(labels[:60], REAL[real])
    assert sorted(labels[60:]) == sorted(DRAWN[drawn]) and not np.array_equal(labels[60:], DRAWN[drawn])


def test_both_controls_are_there() -> None:
    assert {a.name for a in ARMS if a.control} == {"shuffled labels", "more real"}
    assert len(choose(arm("synthetic only"), REAL, DRAWN, 50, 0)[0]) == 0


@given(st.integers(0, 99), st.integers(10, 400))
def test_every_beginning_keeps_the_classes_in_their_shares(seed: int, length: int) -> None:
    order = stratified_order(REAL, seed)
    assert sorted(order) == list(range(400))
    assert abs(REAL[order[:length]].mean() - REAL.mean()) <= 1.5 / length


def test_too_few_images_are_counted() -> None:
    with pytest.raises(ValueError, match="needs 600 real and 0 synthetic images, there are 400 and 300"):
        choose(arm("more real"), REAL, DRAWN, 200, 0)
