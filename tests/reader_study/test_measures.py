"""Numbers of made answers, held to scikit-learn and to what is known of them."""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn import metrics as sk

from dermray.reader_study.measures import accuracy, mean_accuracy, measure

CLASSES = ("a", "b", "c")


def made(images: int, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True classes, and answers of which about `share` are right."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, images)
    return truth, np.where(rng.random(images) < share, truth, (truth + rng.integers(1, 3, images)) % 3)


def test_scikit_learns_on_the_answered_images() -> None:
    truth, said = made(60, 0.7)
    said[:7] = -1
    scores = np.where(said[:, None] == np.arange(3), 1.0, 0.0)
    found = measure(truth, said, scores, CLASSES, 200, 0)
    report = sk.classification_report(truth[7:], said[7:], target_names=CLASSES, output_dict=True)
    assert found["report"] == report and found["answered"] == 53 and found["images"] == 60
    assert found["confusion"] == sk.confusion_matrix(truth[7:], said[7:]).tolist()
    expected = [sk.roc_auc_score(truth[7:] == k, said[7:] == k) for k in range(3)]
    assert [found["auc"]["classes"][name]["value"] for name in CLASSES] == pytest.approx(expected)
    assert found["auc"]["mean"] == pytest.approx(np.mean(expected))
    assert found["accuracy_of_all"] == (truth == said).sum() / 60


def test_an_interval_of_as_many_right_answers_is_a_binomials() -> None:
    """Of 140 images of which 90 are right the bootstrap's percentiles are nearly those of the binomial."""
    found = accuracy(np.arange(140) < 90, 4000, 0)
    low, high = binom(140, 90 / 140).ppf([0.025, 0.975]) / 140
    assert found["low"] == pytest.approx(low, abs=0.011) and found["high"] == pytest.approx(high, abs=0.011)


def test_nothing_is_certain_where_all_answers_are_right() -> None:
    found = accuracy(np.ones(30, bool), 100, 0)
    assert found["high"] == 1 and found["low"] == pytest.approx(0.025 ** (1 / 30))
    assert accuracy(np.zeros(30, bool), 100, 0)["high"] == pytest.approx(1 - 0.025 ** (1 / 30))


def test_what_is_not_there_is_not_told() -> None:
    nothing = measure(np.array([0, 1]), np.array([-1, -1]), np.full((2, 3), np.nan), CLASSES, 100, 0)
    assert nothing["accuracy"] is nothing["auc"] is nothing["report"] is None and nothing["accuracy_of_all"] == 0
    one = measure(np.zeros(4, int), np.array([0, 0, 1, 0]), np.eye(3)[[0, 0, 1, 0]], CLASSES, 100, 0)
    assert one["auc"] is None and one["accuracy"]["value"] == 0.75


def test_the_mean_reader() -> None:
    pairs = [made(140, share, seed) for seed, share in enumerate((0.5, 0.7, 0.9))]
    right = np.array([truth == said for truth, said in pairs])
    known = np.ones_like(right)
    found = mean_accuracy(right, known, 500, 0)
    assert found is not None and found["low"] is not None and found["high"] is not None
    assert found["value"] == pytest.approx(right.mean())
    own = accuracy(right[1], 500, 0)
    assert found["high"] - found["low"] > own["high"] - own["low"], "readers differ more than images"
    known[0, :70] = False
    fewer = mean_accuracy(right, known, 100, 0)
    assert fewer is not None
    assert fewer["value"] == pytest.approx((right[0, 70:].mean() + right[1].mean() + right[2].mean()) / 3)
    alike = np.ones((2, 9), bool)
    assert mean_accuracy(alike, alike, 100, 0) == {"value": 1, "low": None, "high": None}
    assert mean_accuracy(right, known & (np.arange(3) != 1)[:, None], 100, 0) is None
