import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermray.classification.arms import Arm, ArmSettings, arms_of, choose, needed, stratified_order
from dermray.config import ConfigError, validate

REAL = np.random.default_rng(0).choice(3, 400, p=[0.6, 0.3, 0.1])
DRAWN = np.random.default_rng(1).choice(3, 300)


def named(name: str, arms: list[Arm] | None = None) -> Arm:
    return next(arm for arm in arms or arms_of(ArmSettings()) if arm.name == name)


def test_the_default_arms_are_the_six_with_both_controls() -> None:
    assert [(a.name, a.real, a.synthetic_ratio, a.control) for a in arms_of(ArmSettings())] == [
        ("shuffled labels", 1, 2, True),
        ("real only", 1, 0, False),
        ("real + synthetic 1:1", 1, 1, False),
        ("real + synthetic 1:2", 1, 2, False),
        ("synthetic only", 0, 2, False),
        ("more real", 3, 0, True),
    ]


def test_each_synthetic_source_has_a_family_and_the_real_arms_are_shared() -> None:
    given = {"ratios": [1.75, 0.5], "synthetic_only": [1, 2], "shuffled": [1], "more_real": [1, 3]}
    arms = arms_of(validate(ArmSettings, given), ["DermaFlux", "Derm-T2IM"])
    assert [a.name for a in arms if a.source == "Derm-T2IM"] == [
        "shuffled Derm-T2IM labels", "real + Derm-T2IM 1:0.5", "real + Derm-T2IM 1:1.75", "Derm-T2IM only 0:1",
        "Derm-T2IM only 0:2",
    ]  # fmt: skip
    assert [a.name for a in arms if not a.source] == ["real only", "more real 1:1", "more real 1:3"]
    assert len({a.name for a in arms}) == len(arms) == 13


ratios = st.lists(st.floats(0.01, 9).map(lambda x: round(x, 2)), max_size=4, unique=True)


@given(
    st.fixed_dictionaries(dict.fromkeys(("ratios", "synthetic_only", "shuffled", "more_real"), ratios)),
    st.lists(st.text("abc ", min_size=1), min_size=1, max_size=3, unique=True),
)
def test_names_tell_any_arms_apart(of: dict[str, list[float]], sources: list[str]) -> None:
    arms = arms_of(validate(ArmSettings, of), sources)
    number = 1 + len(of["more_real"]) + len(sources) * sum(len(of[n]) for n in of if n != "more_real")
    assert len({arm.name for arm in arms}) == len(arms) == number


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 60), st.floats(0.05, 3), st.booleans())
def test_more_images_hold_the_fewer_in_their_order(seed: int, few: int, ratio: float, balanced: bool) -> None:
    smaller = choose(Arm("", "mixed", 1, ratio), REAL, DRAWN, few, seed, balanced)
    larger = choose(Arm("", "mixed", 1.5, ratio + 1), REAL, DRAWN, few + 5, seed, balanced)
    for less, more in ((smaller.real, larger.real), (smaller.synthetic, larger.synthetic)):
        assert np.array_equal(less, more[: len(less)]) and len(more) > len(less)
    assert (len(smaller.real), len(smaller.synthetic)) == (few, round(few * ratio))
    assert len(set(larger.real)) == len(larger.real) and len(set(larger.synthetic)) == len(larger.synthetic)


@given(st.integers(0, 500))
def test_arms_of_one_seed_share_their_images(seed: int) -> None:
    few, drawn, labels = choose(named("real + synthetic 1:1"), REAL, DRAWN, 50, seed)
    double = choose(named("real + synthetic 1:2"), REAL, DRAWN, 50, seed)
    shuffled = choose(named("shuffled labels"), REAL, DRAWN, 50, seed)
    more = choose(named("more real"), REAL, DRAWN, 50, seed)
    alone = choose(named("synthetic only"), REAL, DRAWN, 50, seed)
    assert np.array_equal(few, double.real) and np.array_equal(few, more.real[:50]) and len(more.real) == 150
    assert np.array_equal(drawn, double.synthetic[:50]) and len(double.labels) == 150
    assert np.array_equal(double.synthetic, alone.synthetic) and len(alone.real) == 0
    assert np.array_equal(double.synthetic, shuffled.synthetic)
    assert np.array_equal(labels, np.concatenate([REAL[few], DRAWN[drawn]]))


def test_only_synthetic_labels_are_shuffled() -> None:
    real, drawn, labels = choose(named("shuffled labels"), REAL, DRAWN, 60, 3)
    assert np.array_equal(labels[:60], REAL[real])
    assert sorted(labels[60:]) == sorted(DRAWN[drawn]) and not np.array_equal(labels[60:], DRAWN[drawn])


@given(st.integers(0, 99), st.integers(10, 400))
def test_every_beginning_keeps_the_classes_in_their_shares(seed: int, length: int) -> None:
    order = stratified_order(REAL, seed)
    assert sorted(order) == list(range(400))
    for label in range(3):
        share = float(np.mean(label == REAL))
        assert abs(float(np.mean(label == REAL[order[:length]])) - share) <= 1.5 / length


@given(st.integers(0, 99), st.integers(3, 90))
def test_balanced_arms_have_as_many_of_every_class(seed: int, few: int) -> None:
    real, drawn, _ = choose(named("real + synthetic 1:1"), REAL, DRAWN, few, seed, balanced=True)
    for counts in (np.bincount(REAL[real], minlength=3), np.bincount(DRAWN[drawn], minlength=3)):
        assert counts.max() - counts.min() <= 1


def test_paper_002s_best_training_set() -> None:
    assert needed(Arm("", "mixed", 1, 1.75), 2500) == (2500, 4375)


def test_too_few_images_are_counted() -> None:
    with pytest.raises(
        ValueError, match="'more real': needs 600 real images for real_images=200, there are 400; .*add"
    ):
        choose(named("more real"), REAL, DRAWN, 200, 0)
    with pytest.raises(ValueError, match="1:2': needs 400 synthetic images for real_images=200, there are 300; .*draw"):
        choose(named("real + synthetic 1:2"), REAL, DRAWN, 200, 0)
    rarest = np.bincount(REAL).min()
    with pytest.raises(ValueError, match=f"needs 200 real .* there are {3 * rarest} with as many of every class"):
        choose(named("real only"), REAL, DRAWN, 200, 0, balanced=True)


def test_bad_ratios_are_refused() -> None:
    with pytest.raises(ConfigError, match="ratios.0=0: .*greater than 0"):
        validate(ArmSettings, {"ratios": [0]})
    with pytest.raises(ConfigError, match="more_real=.*expected each ratio once"):
        validate(ArmSettings, {"more_real": [1, 1]})


def test_a_trial_is_the_same_whether_its_ratio_was_given_or_is_the_default() -> None:
    given = arms_of(validate(ArmSettings, {"ratios": [1, 2], "shuffled": [2], "synthetic_only": [2], "more_real": [2]}))
    assert repr(given) == repr(arms_of(ArmSettings()))
