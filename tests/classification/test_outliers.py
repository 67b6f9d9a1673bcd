import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from dermray.classification.outliers import drawn, fit


def lesions(count: int, seed: int, features: int = 16) -> np.ndarray:
    """Features as a network ends with: not negative, of two kinds of images."""
    rng = np.random.default_rng(seed)
    kinds = np.abs(np.random.default_rng(9).normal(0, 1, (2, features)))
    return np.maximum(kinds[rng.integers(0, 2, count)] + rng.normal(0, 0.3, (count, features)), 0)


def test_scores_are_distances_to_the_fifth_neighbour_as_scikit_learn_has_them() -> None:
    training, asked = lesions(200, 0), lesions(30, 1)
    found = fit(training, lesions(100, 2))
    assert found is not None
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (training, asked)]
    theirs = NearestNeighbors(n_neighbors=5).fit(unit[0]).kneighbors(unit[1])[0][:, -1]
    assert np.allclose(found.scores(asked), theirs, atol=1e-3)
    assert np.allclose(found.scores(asked * 7), found.scores(asked), atol=1e-5), "length says nothing"


def test_other_images_are_flagged_and_like_ones_are_not() -> None:
    found = fit(lesions(300, 0), lesions(200, 1))
    assert found is not None
    other = np.abs(np.random.default_rng(3).normal(0, 1, (200, 16)))
    assert np.mean(found.scores(other) > found.threshold) > 0.9
    assert np.mean(found.scores(lesions(2000, 4)) > found.threshold) < 0.1


@pytest.mark.parametrize("validation", [5, 19, 60])
def test_the_stated_rate_holds_on_average_over_splits(validation: int) -> None:
    """What conformal prediction promises: of new images no more are flagged, however few chose the threshold."""
    every = [fit(lesions(80, 3 * i), lesions(validation, 3 * i + 1)) for i in range(300)]
    flagged = [
        np.mean(found.scores(lesions(100, 3 * i + 2)) > found.threshold) for i, found in enumerate(every) if found
    ]
    stated = {found.false_alarm_rate for found in every if found}
    assert len(flagged) == 300 and len(stated) == 1
    assert np.mean(flagged) == pytest.approx(stated.pop(), abs=0.03)
    assert validation < 19 or every[0].false_alarm_rate <= 0.05  # type: ignore[union-attr]  # there are images


@given(st.integers(1, 4), st.integers(1, 30))
def test_few_images_are_enough(training: int, validation: int) -> None:
    found = fit(lesions(training, 0), lesions(validation, 1))
    assert found is not None and found.neighbour == training and 0 < found.false_alarm_rate <= 0.5
    assert np.isfinite(found.scores(np.zeros((1, 16)))).all(), "of a network that says nothing"


def test_without_images_there_is_none() -> None:
    assert fit(np.empty((0, 4)), lesions(3, 0, 4)) is None and fit(lesions(3, 0, 4), np.empty((0, 4))) is None


def test_a_bank_is_drawn_alike_for_a_seed() -> None:
    rows = np.arange(5000)
    assert np.array_equal(drawn(rows, 1), drawn(rows, 1)) and len(set(drawn(rows, 1))) == 1000
    assert not np.array_equal(drawn(rows, 1), drawn(rows, 2)) and drawn(rows[:9], 1) is not None
