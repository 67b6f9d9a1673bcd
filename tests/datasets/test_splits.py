from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermray.datasets.splits import (
    Fractions,
    check_leaks,
    leak_groups,
    official_name,
    official_splits,
    split,
    split_around,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.one_of(st.none(), st.integers(100, 130))), min_size=1, max_size=60))
def test_rows_that_share_a_key_share_a_group(keys: list[tuple[int, int | None]]) -> None:
    groups = leak_groups([list(pair) for pair in keys])
    by_key = defaultdict(set)
    for pair, group in zip(keys, groups.tolist(), strict=True):
        for key in pair:
            if key is not None:
                by_key[key].add(group)
    assert all(len(found) == 1 for found in by_key.values())


def test_groups_join_through_others_and_through_pairs() -> None:
    groups = leak_groups([["p1", "l1"], ["p2", "l1"], ["p2", "l2"], ["p3", None], ["p4", None]], pairs=[(3, 4)])
    assert len(set(groups[:3])) == 1 and groups[3] == groups[4] != groups[0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(120, 400))
def test_splits_keep_groups_whole_and_strata_in_every_split(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, rows // 3, rows)
    strata = [["a", "b", "c"][g % 3] for g in groups]
    names = split(strata, groups, Fractions(), seed)
    check_leaks((str(g), n) for g, n in zip(groups, names, strict=True))
    for stratum in "abc":
        assert {n for n, s in zip(names, strata, strict=True) if s == stratum} == {"train", "val", "test"}
    assert names == split(strata, groups, Fractions(), seed)


def test_shares_are_kept() -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(2000) // 2
    strata = [str(v) for v in rng.random(2000) < 0.2]
    names = np.array(split(strata, groups, Fractions(train=0.65, val=0.1, test=0.25), 3))
    assert abs((names == "test").mean() - 0.25) < 0.02 and abs((names == "train").mean() - 0.65) < 0.02


def test_a_rare_class_reaches_every_split() -> None:
    groups = np.arange(300)
    strata = ["rare" if g < 4 else "common" for g in groups]
    names = split(strata, groups, Fractions(), 0)
    assert {n for n, s in zip(names, strata, strict=True) if s == "rare"} == {"train", "val", "test"}


def test_a_class_with_one_patient_is_named() -> None:
    with pytest.raises(ValueError, match="class 'rare' has 1 independent patient"):
        split(["rare"] * 5 + ["common"] * 50, np.array([0] * 5 + list(range(1, 51))), Fractions(), 0)


def test_few_rows_of_each_class() -> None:
    names = split(["a"] * 4 + ["b"] * 5, np.arange(9), Fractions(), 0)
    assert set(names[:4]) == set(names[4:]) == {"train", "val", "test"}


def test_shares_must_add_up() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        split(["a"] * 9, np.arange(9), Fractions(train=0.9, val=0.2, test=0.2), 0)


def test_a_leak_is_refused() -> None:
    with pytest.raises(ValueError, match="group 'g1' lies in both 'train' and 'test'"):
        check_leaks([("g1", "train"), ("g2", "test"), ("g1", "test")])


def test_words_for_splits() -> None:
    words = {"Train": "train", " TRAINING": "train", "valid": "val", "Validation": "val", "testing": "test"}
    assert {word: official_name(word) for word in words} == words
    assert official_name("melanoma") is None and official_name("") is None


def test_of_a_group_in_several_official_splits_the_test_split_has_it() -> None:
    groups = np.array([0, 0, 1, 1, 2, 3])
    given = ["train", "test", "val", "train", "train", None]
    assert official_splits(given, groups) == {0: "test", 1: "val", 2: "train"}


def test_official_splits_stay_and_val_is_cut_out_of_train() -> None:
    groups = np.arange(600) // 2
    strata = ["a" if g % 3 else "b" for g in groups]
    given = ["test" if g < 60 else "train" for g in groups.tolist()]
    official = official_splits(list(given), groups)
    names = split_around(official, strata, groups, Fractions(train=0.6, val=0.2, test=0.2), 0)
    assert all(name == "test" for name, was in zip(names, given, strict=True) if was == "test")
    cut = [name for name, was in zip(names, given, strict=True) if was == "train"]
    assert set(cut) == {"train", "val"} and abs(cut.count("val") / len(cut) - 0.25) < 0.03
    check_leaks((str(g), n) for g, n in zip(groups, names, strict=True))


def test_where_all_splits_are_given_nothing_moves() -> None:
    given = ["train"] * 5 + ["val"] * 2 + ["test"] * 3
    official = official_splits(list(given), np.arange(10))
    assert split_around(official, ["a"] * 10, np.arange(10), Fractions(), 0) == given


def test_shares_of_one_split_only() -> None:
    everything = Fractions(train=1, val=0, test=0)
    assert split_around({0: "test"}, ["a"] * 20, np.arange(20), everything, 0) == ["test"] + ["train"] * 19


def test_only_train_given_is_as_good_as_none() -> None:
    groups, strata = np.arange(200), ["a", "b"] * 100
    official = official_splits(["train"] * 200, groups)
    assert set(split_around(official, strata, groups, Fractions(), 0)) == {"train", "val", "test"}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_rows_without_a_split_follow_their_group_and_are_split_otherwise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 90, 300)
    given = [["train", "val", "test"][g % 3] if g < 45 and rng.random() < 0.7 else None for g in groups.tolist()]
    official = official_splits(given, groups)
    names = split_around(official, ["a"] * 300, groups, Fractions(), seed)
    assert all(name == was for name, was in zip(names, given, strict=True) if was is not None)
    check_leaks((str(g), n) for g, n in zip(groups, names, strict=True))
    assert {n for n, g in zip(names, groups.tolist(), strict=True) if g not in official} == {"train", "val", "test"}


def test_rows_without_a_label_stop_no_split_and_a_share_of_one_is_all() -> None:
    strata, groups = ["a"] * 20 + ["b"] * 20 + ["unknown"], np.arange(41)
    names = split(strata, groups, Fractions(), 0)
    assert set(names[:20]) == set(names[20:40]) == {"train", "val", "test"}
    assert split(["a"], np.zeros(1, int), Fractions(train=1.0, val=0.0, test=0.0), 0) == ["train"]


@pytest.mark.parametrize(
    ("word", "name"),
    [("Train", "train"), ("Test set", "test"), ("train_images", "train"), ("VALIDATION-DATA", "val"),
     ("train_mel", None), ("testis", None), ("images", None)],
)  # fmt: skip
def test_names_of_split_folders(word: str, name: str | None) -> None:
    assert official_name(word) == name
