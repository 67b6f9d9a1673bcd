import warnings
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from dermray.datasets.folds import stratified_group_folds
from dermray.datasets.splits import (
    Fractions,
    Strata,
    check_leaks,
    leak_groups,
    official_name,
    official_splits,
    split,
    split_around,
)
from dermray.records import SPLITS

NO_LINKS = np.empty((0, 2), np.int64)


def places(names: list[str | None]) -> np.ndarray:
    return np.array([-1 if name is None else SPLITS.index(name) for name in names], np.int8)


def dealt(strata: list[str], groups: np.ndarray, fractions: Fractions, seed: int) -> np.ndarray:
    return split(Strata.of(strata), groups, fractions, seed)


def around(official: np.ndarray, strata: list[str], groups: np.ndarray, fractions: Fractions, seed: int) -> np.ndarray:
    return split_around(official, Strata.of(strata), groups, fractions, seed)


def words(found: np.ndarray) -> list[str]:
    return [SPLITS[place] for place in found.tolist()]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.one_of(st.none(), st.integers(100, 130))), min_size=1, max_size=60))
def test_rows_that_share_a_key_share_a_group(keys: list[tuple[int, int | None]]) -> None:
    columns = [np.array([-1 if key is None else key for key in column]) for column in zip(*keys, strict=True)]
    groups = leak_groups(columns, NO_LINKS)
    by_key = defaultdict(set)
    for pair, group in zip(keys, groups.tolist(), strict=True):
        for column, key in enumerate(pair):
            if key is not None:
                by_key[column, key].add(group)
    assert all(len(found) == 1 for found in by_key.values())


def test_groups_join_through_others_and_through_pairs() -> None:
    groups = leak_groups([np.array([1, 2, 2, 3, 4]), np.array([1, 1, 2, -1, -1])], np.array([(3, 4)]))
    assert len(set(groups[:3])) == 1 and groups[3] == groups[4] != groups[0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(120, 400))
def test_splits_keep_groups_whole_and_strata_in_every_split(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, rows // 3, rows)
    strata = [["a", "b", "c"][g % 3] for g in groups]
    names = words(dealt(strata, groups, Fractions(), seed))
    check_leaks((str(g), n) for g, n in zip(groups, names, strict=True))
    for stratum in "abc":
        assert {n for n, s in zip(names, strata, strict=True) if s == stratum} == {"train", "val", "test"}
    assert names == words(dealt(strata, groups, Fractions(), seed))


def test_shares_are_kept() -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(2000) // 2
    strata = [str(v) for v in rng.random(2000) < 0.2]
    names = np.array(words(dealt(strata, groups, Fractions(train=0.65, val=0.1, test=0.25), 3)))
    assert abs((names == "test").mean() - 0.25) < 0.02 and abs((names == "train").mean() - 0.65) < 0.02


def test_a_rare_class_reaches_every_split() -> None:
    groups = np.arange(300)
    strata = ["rare" if g < 4 else "common" for g in groups]
    names = words(dealt(strata, groups, Fractions(), 0))
    assert {n for n, s in zip(names, strata, strict=True) if s == "rare"} == {"train", "val", "test"}


def test_a_class_with_one_patient_is_named() -> None:
    with pytest.raises(ValueError, match="class 'rare' has 1 independent patient"):
        dealt(["rare"] * 5 + ["common"] * 50, np.array([0] * 5 + list(range(1, 51))), Fractions(), 0)


def test_few_rows_of_each_class() -> None:
    names = words(dealt(["a"] * 4 + ["b"] * 5, np.arange(9), Fractions(), 0))
    assert set(names[:4]) == set(names[4:]) == {"train", "val", "test"}


def test_shares_must_add_up() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        dealt(["a"] * 9, np.arange(9), Fractions(train=0.9, val=0.2, test=0.2), 0)


def test_a_leak_is_refused() -> None:
    with pytest.raises(ValueError, match="group 'g1' lies in both 'train' and 'test'"):
        check_leaks([("g1", "train"), ("g2", "test"), ("g1", "test")])


def test_words_for_splits() -> None:
    words = {"Train": "train", " TRAINING": "train", "valid": "val", "Validation": "val", "testing": "test"}
    assert {word: official_name(word) for word in words} == words
    assert official_name("melanoma") is None and official_name("") is None


def test_of_a_group_in_several_official_splits_the_test_split_has_it() -> None:
    groups = np.array([0, 0, 1, 1, 2, 3])
    given = places(["train", "test", "val", "train", "train", None])
    expected = ["test", "test", "val", "val", "train", None]
    assert official_splits(given, groups).tolist() == places([*expected]).tolist()


def test_official_splits_stay_and_val_is_cut_out_of_train() -> None:
    groups = np.arange(600) // 2
    strata = ["a" if g % 3 else "b" for g in groups]
    given = ["test" if g < 60 else "train" for g in groups.tolist()]
    official = official_splits(places([*given]), groups)
    names = words(around(official, strata, groups, Fractions(train=0.6, val=0.2, test=0.2), 0))
    assert all(name == "test" for name, was in zip(names, given, strict=True) if was == "test")
    cut = [name for name, was in zip(names, given, strict=True) if was == "train"]
    assert set(cut) == {"train", "val"} and abs(cut.count("val") / len(cut) - 0.25) < 0.03
    check_leaks((str(g), n) for g, n in zip(groups, names, strict=True))


def test_where_all_splits_are_given_nothing_moves() -> None:
    given = ["train"] * 5 + ["val"] * 2 + ["test"] * 3
    official = official_splits(places([*given]), np.arange(10))
    assert words(around(official, ["a"] * 10, np.arange(10), Fractions(), 0)) == given


def test_shares_of_one_split_only() -> None:
    everything = Fractions(train=1, val=0, test=0)
    official = places(["test"] + [None] * 19)
    assert words(around(official, ["a"] * 20, np.arange(20), everything, 0)) == ["test"] + ["train"] * 19


def test_only_train_given_is_as_good_as_none() -> None:
    groups, strata = np.arange(200), ["a", "b"] * 100
    official = official_splits(places(["train"] * 200), groups)
    assert set(words(around(official, strata, groups, Fractions(), 0))) == {"train", "val", "test"}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_rows_without_a_split_follow_their_group_and_are_split_otherwise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 90, 300)
    given = [["train", "val", "test"][g % 3] if g < 45 and rng.random() < 0.7 else None for g in groups.tolist()]
    official = official_splits(places([*given]), groups)
    names = words(around(official, ["a"] * 300, groups, Fractions(), seed))
    assert all(name == was for name, was in zip(names, given, strict=True) if was is not None)
    check_leaks((str(g), n) for g, n in zip(groups, names, strict=True))
    assert {n for n, place in zip(names, official.tolist(), strict=True) if place == -1} == {"train", "val", "test"}


def test_rows_without_a_label_stop_no_split_and_a_share_of_one_is_all() -> None:
    strata, groups = ["a"] * 20 + ["b"] * 20 + ["unknown"], np.arange(41)
    names = words(dealt(strata, groups, Fractions(), 0))
    assert set(names[:20]) == set(names[20:40]) == {"train", "val", "test"}
    assert words(dealt(["a"], np.zeros(1, int), Fractions(train=1.0, val=0.0, test=0.0), 0)) == ["train"]


@pytest.mark.parametrize(
    ("word", "name"),
    [("Train", "train"), ("Test set", "test"), ("train_images", "train"), ("VALIDATION-DATA", "val"),
     ("train_mel", None), ("testis", None), ("images", None)],
)  # fmt: skip
def test_names_of_split_folders(word: str, name: str | None) -> None:
    assert official_name(word) == name


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), classes=st.integers(1, 6), folds=st.integers(2, 20), size=st.integers(1, 4))
def test_folds_are_those_of_scikit_learn(seed: int, classes: int, folds: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 240 // size, 240)
    strata = groups % classes if seed % 2 else rng.integers(0, classes, 240)
    folds = min(folds, int(np.bincount(strata).max()))
    expected = np.empty(240, int)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        for fold, (_, rows) in enumerate(splitter.split(np.zeros(240), strata, groups)):
            expected[rows] = fold
    assert stratified_group_folds(strata, groups, folds, seed).tolist() == expected.tolist()


def test_tones_of_a_label_keep_their_shares() -> None:
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(3000) < 0.2, "malignant", "benign")
    tones = rng.choice(["A", "B", "C"], 3000, p=[0.7, 0.25, 0.05])
    names = np.array(words(split(Strata.of(labels, tones), np.arange(3000) // 2, Fractions(), 0)))
    for label in ("malignant", "benign"):
        for tone in "ABC":
            cell = names[(labels == label) & (tones == tone)]
            assert abs((cell == "test").mean() - 0.2) < 0.06 and "val" in cell, (label, tone)


def test_a_tone_of_few_patients_stops_no_split() -> None:
    tones = ["C"] + ["A"] * 39
    names = words(split(Strata.of(["a", "b"] * 20, tones), np.arange(40), Fractions(), 0))
    assert set(names[::2]) == set(names[1::2]) == {"train", "val", "test"}
