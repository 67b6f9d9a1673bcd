"""The stated false rate is kept, whatever the looks' distances are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermray.config import ConfigError, validate
from dermray.synthesis.gate.calibrating import measured
from dermray.synthesis.gate.calibration import Calibration, calibrated, needed, recall
from dermray.synthesis.gate.settings import GateConfig


@pytest.mark.parametrize("likeness", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("false_rate", [0.02, 0.1])
def test_new_images_are_called_copies_at_most_as_often_as_stated(likeness: float, false_rate: float) -> None:
    """Over many calibrations, for looks that agree never, often and always."""
    rng, called = np.random.default_rng(0), list[float]()
    for _ in range(300):
        common = rng.random((400, 1))
        drawn = np.where(rng.random((400, 1)) < likeness, np.repeat(common, 2, 1), rng.random((400, 2)))
        found = calibrated(drawn[:200], false_rate)
        called.append(float(np.mean([any(found.below(*each)) for each in drawn[200:].tolist()])))
    assert found.bound <= false_rate and found.warning() is None
    error = np.std(called) / math.sqrt(len(called))
    assert 0.5 * false_rate < np.mean(called) < false_rate + 3 * error, "neither broken nor useless"


@settings(max_examples=50)
@given(st.integers(1, 400), st.floats(0.001, 0.2), st.integers(0, 1000))
def test_the_bound_counts_the_images_that_are_below(count: int, false_rate: float, seed: int) -> None:
    distances = np.random.default_rng(seed).random((count, 2))
    found = calibrated(distances, false_rate)
    below = sum(any(found.below(*each)) for each in distances.tolist())
    assert below + 1 <= found.bound * (count + 1)
    assert (found.bound > false_rate) == (found.warning() is not None)
    if count >= needed(false_rate):
        assert found.warning() is None


def test_too_few_images_are_said_with_what_they_allow() -> None:
    found = calibrated(np.random.default_rng(0).random((50, 2)), 0.01)
    assert found.bound == pytest.approx(3 / 51)
    assert "50 held-out real images are too few for the gate's false rate of 0.01" in str(found.warning())
    assert "up to 0.059" in str(found.warning()) and "299 would do" in str(found.warning())
    assert "Two thirds of the leak groups outside the train split" in str(found.warning())
    assert "hold out 449" in str(found.warning())


def test_a_rate_of_zero_rejects_nothing() -> None:
    found = calibrated(np.zeros((10, 2)), 0)
    assert found.reason(0, 0) is None and found.warning() is None and found.closeness(0, 0) == math.inf


def test_the_reason_says_which_look() -> None:
    gate = Calibration(false_rate=0.01, pixels=0.4, embedding=0.2, images=500, bound=0.01)
    assert gate.reason(0.5, 0.3) is None
    assert gate.reason(0.3, 0.3) == "a copy of a training image by its pixels"
    assert gate.reason(0.5, 0.1) == "a copy of a training image by its embedding"
    assert gate.reason(0.1, 0.1) == "a copy of a training image by its pixels and its embedding"
    assert gate.closeness(0.2, 0.4) == 0.5 and gate.closeness(0.8, 0.4) == 2


def test_an_image_is_close_only_where_it_is_rejected() -> None:
    """A threshold of 0 rejects nothing, and what is served must agree with what generate rejects."""
    gate = Calibration(false_rate=0.01, pixels=0, embedding=0.2, images=500, bound=0.01)
    assert gate.reason(0, 0.3) is None and gate.closeness(0, 0.3) == pytest.approx(1.5)


def test_recall_counts_each_look_and_the_right_original() -> None:
    gate = Calibration(false_rate=0.01, pixels=0.4, embedding=0.2, images=500, bound=0.01)
    distances = np.array([[0.1, 0.9], [0.9, 0.1], [0.9, 0.9], [0.1, 0.1]])
    found = recall(gate, distances, np.array([[True, False], [True, False], [True, True], [False, True]]))
    assert (found.caught, found.by_pixels, found.by_embedding, found.named) == (0.75, 0.5, 0.5, 0.5)


def test_a_third_of_the_images_checks_the_rest() -> None:
    real = np.ones((30, 2)) + np.arange(30)[:, None]
    real[2::3] = 0.5  # those that check are all nearer
    found = measured(real, {}, 0.2)
    assert (found.images, found.checked, found.realised) == (20, 10, 1.0)


@pytest.mark.parametrize("rate", [-0.1, 0.5, 1])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="false_rate"):
        validate(GateConfig, {"false_rate": rate})
