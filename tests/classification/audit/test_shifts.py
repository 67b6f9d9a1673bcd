"""Shifts whose truth is known: numbers drawn, no picture."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from dermray.classification.audit.shifts import DEPENDS, INDEPENDENT, UNDECIDED, Scored, analyse, measured
from dermray.classification.audit.wording import Attribute

TONE = Attribute.of("skin_tone", "ABC")


def scored(by_tone: tuple[float, float, float], lesions: int = 200, noise: float = 0.1, change: float = 40) -> Scored:
    """Scores that lie so far from a lesion's own on each tone, on the average."""
    rng = np.random.default_rng(0)
    own = rng.uniform(0.3, 0.7, lesions)
    values = own[:, None] + np.array(by_tone) + rng.normal(0, noise, (lesions, 3))
    groups = [f"g{number}" for number in range(lesions)]
    other = own + rng.normal(0, 0.2, lesions)
    return Scored(
        groups, own, other, {"skin_tone": values}, np.full(lesions, 50.0), {"skin_tone": np.full(lesions, change)}
    )


def told(scores: Scored, tolerance: float = 0.05) -> dict[str, Any]:
    verdict: dict[str, Any] = analyse(scores, [TONE], tolerance, 0)["attributes"]["skin_tone"]
    return verdict


def test_mean_and_interval_are_students_where_each_lesion_is_its_own_group() -> None:
    shifts = np.random.default_rng(1).normal(0.1, 0.3, 80)
    found = measured(shifts, [str(number) for number in range(80)], 0)
    expected = ttest_1samp(shifts, 0)
    interval = expected.confidence_interval()
    assert found["mean"] == pytest.approx(shifts.mean())
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high), abs=0.01)
    assert found["p"] == pytest.approx(expected.pvalue, rel=0.5)
    assert found["spread"] == pytest.approx(shifts.std(ddof=1))
    # of a normal sample the standard error of the standard deviation is sd / sqrt(2 (n - 1))
    width = 2 * norm.ppf(0.975) * 0.3 / np.sqrt(2 * 79)
    assert found["spread_high"] - found["spread_low"] == pytest.approx(width, rel=0.3)


def test_lesions_of_one_patient_are_not_independent() -> None:
    patients = np.random.default_rng(1).normal(0, 0.3, 20)
    apart, together = (measured(np.repeat(patients, 4), [str(n // size) for n in range(80)], 0) for size in (1, 4))
    assert together["high"] - together["low"] > 1.7 * (apart["high"] - apart["low"]), "twice, but for the bootstrap"


def test_a_score_that_follows_the_tone_is_caught_and_the_step_is_named() -> None:
    found = told(scored((0, 0, 0.2)))
    assert found["verdict"] == DEPENDS
    assert [(pair["from"], pair["to"]) for pair in found["pairs"]] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert found["pairs"][2]["mean"] == pytest.approx(0.2, abs=0.03)
    assert (
        "skin tone: depends on it: the same lesion scores 0." in found["sentence"]
        and "as C than as" in found["sentence"]
    )
    assert "lower as C than as" in told(scored((0.2, 0.2, 0)))["sentence"]


def test_a_small_shift_passes_however_sure_it_is() -> None:
    found = told(scored((0, 0, 0.02), lesions=2000, noise=0.05))
    assert found["pairs"][1]["corrected_p"] < 0.001 and found["verdict"] == INDEPENDENT


def test_too_few_lesions_decide_nothing() -> None:
    found = told(scored((0, 0, 0), lesions=6, noise=0.2))
    assert found["verdict"] == UNDECIDED and "draw more lesions" in found["sentence"]


def test_pictures_that_do_not_change_decide_nothing() -> None:
    found = told(scored((0, 0, 0), noise=0, change=0.2))
    assert found["verdict"] == UNDECIDED and "the generator does not draw it" in found["sentence"]


def test_many_comparisons_are_corrected_together() -> None:
    found = told(scored((0, 0, 0)))
    assert all(pair["corrected_p"] >= pair["p"] for pair in found["pairs"])
    assert min(pair["corrected_p"] for pair in found["pairs"]) == pytest.approx(
        min(1, 3 * min(pair["p"] for pair in found["pairs"]))
    )


def test_the_floor_is_another_seeds_shift() -> None:
    floor = analyse(scored((0, 0, 0), lesions=500), [TONE], 0.05, 0)["floor"]
    assert floor["spread"] == pytest.approx(0.2, rel=0.1) and floor["change"] == 50


def test_one_patient_alone_says_nothing() -> None:
    few = scored((0, 0, 0), lesions=1)
    with pytest.raises(ValueError, match="1 lesions of 1 leak groups have scores: expected at least two"):
        analyse(few, [TONE], 0.05, 0)
