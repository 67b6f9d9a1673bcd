"""New groups beside old ones: these stay where they are, and all together keep the shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.datasets.splits import NONE, Fractions, Strata, check_leaks, split
from dermray.datasets.topping_up import topped_up

TRAIN, VAL, TEST = range(3)


def rows(number: int, seed: int, groups: int) -> tuple[np.ndarray, np.ndarray, Strata]:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, number)
    labels = np.array(["a", "b", "c"])[group % 3]
    return group, labels, Strata.of(labels, rng.choice(["A", "B"], number))


@given(seed=st.integers(0, 1000), old=st.integers(60, 150))
def test_old_groups_stay_and_new_ones_stay_whole(seed: int, old: int) -> None:
    groups, labels, strata = rows(400, seed, 180)
    first = np.flatnonzero(groups < old)
    settled = np.full(400, NONE, np.int8)
    settled[first] = split(strata.take(first), groups[first], Fractions(), seed)
    names = topped_up(settled, strata, groups, Fractions(), seed)
    assert (names[first] == settled[first]).all() and (names != NONE).all()
    check_leaks((str(g), str(n)) for g, n in zip(groups.tolist(), names.tolist(), strict=True))
    assert (topped_up(names, strata, groups, Fractions(), seed + 1) == names).all(), "nothing new, nothing changes"
    assert all(set(names[labels == label]) == {TRAIN, VAL, TEST} for label in "abc")


def test_shares_are_kept_over_old_and_new_though_few_come_at_a_time() -> None:
    groups, labels, strata = rows(1200, 0, 600)
    names = np.full(1200, NONE, np.int8)
    for known in range(300, 601, 5):  # of 600 groups
        here = np.flatnonzero(groups < known)
        names[here] = topped_up(names[here], strata.take(here), groups[here], Fractions(), 0)
    for label in "abc":
        shares = np.bincount(names[labels == label], minlength=3) / (labels == label).sum()
        assert np.abs(shares - [0.7, 0.1, 0.2]).max() < 0.03, (label, shares)


def test_a_new_label_reaches_every_split_and_an_old_one_need_not_again() -> None:
    settled = np.array([TRAIN] * 7 + [VAL] + [TEST] * 2 + [NONE] * 4, np.int8)
    labels = ["a"] * 11 + ["new"] * 3
    names = topped_up(settled, Strata.of(labels), np.arange(14), Fractions(), 0)
    assert set(names[11:]) == {TRAIN, VAL, TEST} and (names[:10] == settled[:10]).all()


def test_a_new_label_of_one_patient_is_named() -> None:
    settled = np.array([TRAIN, VAL, TEST, NONE, NONE], np.int8)
    with pytest.raises(ValueError, match="class 'new' has 1 independent patient"):
        topped_up(settled, Strata.of(["a"] * 3 + ["new"] * 2), np.array([0, 1, 2, 3, 3]), Fractions(), 0)


def test_a_split_without_a_share_gets_none_of_the_new() -> None:
    settled = np.array([VAL] + [NONE] * 20, np.int8)
    names = topped_up(settled, Strata.of(["a"] * 21), np.arange(21), Fractions(train=0.8, val=0, test=0.2), 0)
    assert names[0] == VAL and set(names[1:]) == {TRAIN, TEST}
