import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from dermray.classification.metrics import RESAMPLED, calibration_error, decide, measure, reliability


def example(count: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    logits = np.round(rng.normal(0, 1, (count, classes)) + 1.2 * np.eye(classes)[labels], 1)  # with ties
    raised = np.exp(logits)
    return labels, raised / raised.sum(1, keepdims=True)


@settings(max_examples=8, deadline=None)
@given(st.integers(40, 120), st.sampled_from([2, 3, 5]), st.floats(0.2, 0.8), st.integers(0, 1000))
def test_they_are_scikit_learns(count: int, classes: int, threshold: float, seed: int) -> None:
    labels, probabilities = example(count, classes, seed)
    names = [f"c{i}" for i in range(classes)]
    told = measure(labels, probabilities, names, threshold)
    binary = classes == 2
    predicted = probabilities[:, 1] >= threshold if binary else probabilities.argmax(1)
    ranked = (labels, probabilities[:, 1]) if binary else (np.eye(classes)[labels], probabilities)
    overall = told["overall"]
    assert overall["images"] == count
    assert overall["auc"] == pytest.approx(sk.roc_auc_score(*ranked))
    assert overall["average_precision"] == pytest.approx(sk.average_precision_score(*ranked))
    assert overall["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert overall["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    for average in ("macro", "weighted"):
        given_ = {"average": average, "zero_division": 0}
        assert overall[f"f1_{average}"] == pytest.approx(sk.f1_score(labels, predicted, **given_))
        assert overall[f"precision_{average}"] == pytest.approx(sk.precision_score(labels, predicted, **given_))
        assert overall[f"recall_{average}"] == pytest.approx(sk.recall_score(labels, predicted, **given_))
    squares = ((probabilities - np.eye(classes)[labels]) ** 2).sum(1).mean()
    assert overall["brier"] == pytest.approx(squares / 2 if binary else squares)
    assert told["confusion"] == sk.confusion_matrix(labels, predicted, labels=range(classes)).tolist()
    for i, name in enumerate(names):
        row, truth, said = told["classes"][name], labels == i, predicted == i
        assert row["auc"] == pytest.approx(sk.roc_auc_score(truth, probabilities[:, i]))
        assert row["recall"] == pytest.approx(sk.recall_score(truth, said))
        assert row["specificity"] == pytest.approx(sk.recall_score(~truth, ~said))
        if said.any():
            assert row["precision"] == pytest.approx(sk.precision_score(truth, said))
            assert row["f1"] == pytest.approx(sk.f1_score(truth, said))
        else:
            assert row["precision"] is None


def test_fixed_points_and_the_calibration_error_are_torchmetrics() -> None:
    labels, probabilities = example(200, 2, 3)
    row = measure(labels, probabilities, ["a", "b"], fixed=0.85)["classes"]["b"]
    given_ = (torch.tensor(probabilities[:, 1]), torch.tensor(labels))
    assert row["sensitivity_at_specificity"] == pytest.approx(
        float(tm.binary_sensitivity_at_specificity(*given_, 0.85)[0])
    )
    assert row["specificity_at_sensitivity"] == pytest.approx(
        float(tm.binary_specificity_at_sensitivity(*given_, 0.85)[0])
    )
    assert calibration_error(labels, probabilities) == pytest.approx(
        float(tm.binary_calibration_error(*given_, n_bins=15)), abs=1e-6
    )
    several, said = example(200, 4, 3)
    told = tm.multiclass_calibration_error(torch.tensor(said), torch.tensor(several), 4, n_bins=15)
    assert calibration_error(several, said) == pytest.approx(float(told), abs=1e-6)


def test_reliability_counts_every_image_once() -> None:
    labels, probabilities = example(100, 3, 0)
    probabilities[:3] = np.eye(3)  # a confidence of one lies in the last bin
    confidence, right, count = reliability(labels, probabilities, 10)
    assert count.sum() == 100 and np.isnan(confidence[0]) and count[0] == 0  # none of three is surer than all
    assert (right * count)[count > 0].sum() == (probabilities.argmax(1) == labels).sum()


@pytest.mark.parametrize("classes", [2, 4])
def test_resampled_ones_count_an_image_as_often_as_it_was_drawn(classes: int) -> None:
    labels, probabilities = example(150, classes, 5)
    weights = np.random.default_rng(0).integers(0, 3, (4, 150)).astype(float)
    truth = (labels, probabilities[:, 1]) if classes == 2 else (np.eye(classes)[labels], probabilities)
    predicted = decide(probabilities, 0.4)
    for i, row in enumerate(weights):
        told = {name: value(labels, probabilities, weights, 0.4)[i] for name, value in RESAMPLED.items()}
        assert told["auc"] == pytest.approx(sk.roc_auc_score(*truth, sample_weight=row))
        assert told["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted, sample_weight=row))
        balanced = sk.balanced_accuracy_score(labels, predicted, sample_weight=row)
        assert told["balanced_accuracy"] == pytest.approx(balanced)


def test_a_resample_without_a_rare_class_is_the_mean_of_the_others() -> None:
    labels, probabilities = example(60, 3, 5)
    weights = np.ones((2, 60))
    weights[1, labels == 2] = 0
    kept = labels < 2
    told = RESAMPLED["balanced_accuracy"](labels, probabilities, weights, 0.5)
    recalls = [np.mean(probabilities[labels == i].argmax(1) == i) for i in range(2)]
    assert told[1] == pytest.approx(np.mean(recalls))
    aucs = [sk.roc_auc_score(labels[kept] == i, probabilities[kept, i]) for i in range(2)]
    assert RESAMPLED["auc"](labels, probabilities, weights, 0.5)[1] == pytest.approx(np.mean(aucs))
    assert np.isnan(RESAMPLED["auc"](labels, probabilities, np.zeros((1, 60)), 0.5)).all()


def test_a_class_without_images_is_left_out_and_named() -> None:
    labels, probabilities = example(60, 3, 1)
    told = measure(labels[labels < 2], probabilities[labels < 2], ["a", "b", "c"])
    assert told["classes"]["c"]["auc"] is None and told["classes"]["c"]["recall"] is None
    assert told["classes"]["c"]["images"] == 0
    known = [told["classes"][name]["auc"] for name in "ab"]
    assert told["overall"]["auc"] == pytest.approx(np.mean(known))
    only = measure(np.zeros(4, int), np.full((4, 2), 0.5), ["a", "b"])["overall"]
    assert only["auc"] is None and only["accuracy"] == 0  # 0.5 is called positive


def test_labels_that_fit_no_column_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 2\): expected \(3, 3\)"):
        measure(np.array([0, 1, 2]), np.full((3, 2), 0.5), ["a", "b", "c"])
    with pytest.raises(ValueError, match="label -1: expected class numbers from 0 to 1; leave unknown labels out"):
        measure(np.array([0, 1, -1]), np.full((3, 2), 0.5), ["a", "b"])
