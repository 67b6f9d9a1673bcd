import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from dermray.classification.calibration import Calibration, Rule, fit, fit_temperature, of_validation, operating_point
from dermray.classification.metrics import calibration_error


def example(classes: int, temperature: float, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the probabilities of logits, and the same logits made too sure by a temperature."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (count, classes))
    labels = np.array([rng.choice(classes, p=p) for p in softmax(logits, axis=1)])
    return labels, softmax(logits * temperature, axis=1)


@pytest.mark.parametrize("classes", [2, 5])
def test_the_temperature_that_made_it_too_sure_is_found(classes: int) -> None:
    labels, probabilities = example(classes, 3.0)
    chosen = fit(labels, probabilities)
    assert chosen.temperature == pytest.approx(3.0, rel=0.08)
    scaled = chosen.scale(probabilities)
    assert np.allclose(scaled.sum(1), 1)
    assert calibration_error(labels, scaled) < 0.03 < 0.1 < calibration_error(labels, probabilities)
    assert np.array_equal(np.argsort(scaled[:, 1]), np.argsort(probabilities[:, 1])) or classes > 2  # ranks stay


def test_scaling_equals_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 600)
    features = rng.normal(0, 2, (600, 4)) + 0.8 * np.eye(4)[labels]
    model = LogisticRegression(C=1e3).fit(features[:40], labels[:40])  # of so few it is too sure
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(features[40:300], labels[40:300])
    ours = fit(labels[40:300], model.predict_proba(features[40:300]))
    assert ours.temperature > 1.2
    scaled = ours.scale(model.predict_proba(features[300:]))
    assert np.allclose(scaled, theirs.predict_proba(features[300:]), atol=2e-3)


def test_sure_probabilities_have_no_infinite_logits() -> None:
    labels, probabilities = np.array([0, 1, 1, 0]), np.array([[1.0, 0], [0, 1], [1, 0], [0.9, 0.1]])
    assert np.isfinite(fit_temperature(labels, probabilities))
    assert np.isfinite(Calibration(0.5).scale(probabilities)).all()


def test_scores_that_are_sure_keep_their_ranks() -> None:
    surest = np.array([1e-18, 1e-15, 1e-13, 1e-3])
    scaled = Calibration(3.0).scale(np.stack([1 - surest, surest], axis=1))
    assert (np.diff(scaled[:, 1]) > 0).all()


def test_validation_images_of_one_class_choose_nothing() -> None:
    sure = np.array([[0.2, 0.8], [0.4, 0.6]])
    assert of_validation(np.array([1, 1]), sure) == of_validation(np.empty(0, np.int64), None) == Calibration()
    assert of_validation(np.array([0, 1]), sure) == fit(np.array([0, 1]), sure) != Calibration()


def test_a_fixed_threshold_decides_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 400)
    features = rng.normal(0, 1, (400, 3)) + 0.7 * labels[:, None] - 0.9
    model = LogisticRegression().fit(features[:60], labels[:60])
    probabilities = model.predict_proba(features[60:])
    fixed = of_validation(labels[60:], probabilities, "0.5")
    assert fixed.threshold == 0.5 and fixed.temperature == fit(labels[60:], probabilities).temperature != 1
    assert np.array_equal(fixed.decide(fixed.scale(probabilities)), model.predict(features[60:]))
    assert fit(labels[60:], probabilities).threshold != 0.5 == of_validation(np.array([1]), None, "0.5").threshold


@pytest.mark.parametrize("rule", ["youden", "sensitivity", "specificity"])
def test_operating_points_are_the_best_of_all_thresholds(rule: Rule) -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(300) < 0.3
    scores = np.round(np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1), 2)  # with ties

    def rates(threshold: float) -> tuple[float, float]:
        return float(np.mean(scores[truth] >= threshold)), float(np.mean(scores[~truth] < threshold))

    sensitivity, specificity = rates(operating_point(truth, scores, rule, 0.85))
    every = [rates(threshold) for threshold in np.linspace(0, 1.001, 1002)]
    if rule == "youden":
        assert sensitivity + specificity == pytest.approx(max(a + b for a, b in every))
    elif rule == "sensitivity":
        assert sensitivity >= 0.85 and specificity == max(b for a, b in every if a >= 0.85)
    else:
        assert specificity >= 0.85 and sensitivity == max(a for a, b in every if b >= 0.85)


def test_it_decides_as_it_was_chosen() -> None:
    labels, probabilities = example(2, 2.0)
    chosen = fit(labels, probabilities, "sensitivity", 0.95)
    called = chosen.decide(chosen.scale(probabilities))
    assert 0.95 <= np.mean(called[labels == 1] == 1) < 0.97
    assert Calibration(**chosen.as_dict()) == chosen


def test_a_validation_split_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="validation split: 3 images of one class or none; expected two classes"):
        fit(np.ones(3, int), np.full((3, 2), 0.5))
