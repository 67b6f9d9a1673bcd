"""Training on small images. What it should give is told by scikit-learn, torch's own losses and repeated runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight

from dermray.backbones.networks import Backbone
from dermray.classification import training
from dermray.classification.batches import InMemory
from dermray.classification.settings import TrainingSettings
from dermray.classification.training import class_weights, loss_of, probabilities, to_probabilities, train
from dermray.config import validate

NANO = Backbone(name="test_resnet", learning_rate=6e-3)
EVERY = np.arange(90)


def images(classes: int) -> tuple[InMemory, np.ndarray]:
    """90 images of 32 px; those of class c have more of channel c."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 90)
    pixels = rng.integers(0, 120, (90, 3, 32, 32), dtype=np.uint8)
    pixels[EVERY, labels] += 80
    return InMemory(pixels), labels


def settings(**given: Any) -> TrainingSettings:
    return validate(TrainingSettings, {"batch_size": 16, "schedule": "one_cycle"} | given)


@pytest.mark.parametrize(("name", "classes"), [("test_resnet", 2), ("test_efficientnet", 3)])
def test_it_learns_classes_and_gives_the_same_again(name: str, classes: int) -> None:
    pixels, labels = images(classes)
    outputs = 1 if classes == 2 else classes
    backbone = Backbone(name=name, learning_rate=6e-3)
    model = train(pixels, EVERY, labels, None, backbone, settings(steps=40), outputs, seed=1).model
    found = probabilities(model, pixels, EVERY)
    assert found.shape == (90, classes) and found.dtype == np.float64 and np.allclose(found.sum(1), 1)
    scores = found[:, 1] if classes == 2 else found
    assert roc_auc_score(labels, scores, multi_class="ovr") > 0.95
    again = train(pixels, EVERY, labels, None, backbone, settings(steps=40), outputs, seed=1).model
    assert np.array_equal(found, probabilities(again, pixels, EVERY, at_once=90))
    other = train(pixels, EVERY, labels, None, backbone, settings(steps=2), outputs, seed=2).model
    assert not np.allclose(found, probabilities(other, pixels, EVERY))


@pytest.mark.parametrize("keep", ["best", "last"])
def test_an_interrupted_training_ends_with_the_same_bits(keep: str, tmp_path: Path) -> None:
    pixels, labels = images(3)
    given = settings(epochs=4, keep=keep, augmentation="paper_000", save_seconds=0)
    parts = (pixels, EVERY[:60], labels[:60], (EVERY[60:], labels[60:]), NANO, given, 3, 5)
    whole = train(*parts)
    uri = f"{tmp_path}/state"

    def stops(epoch: int, metrics: dict[str, float]) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(*parts, resume=uri, report=stops)
    epochs: list[int] = []
    resumed = train(*parts, resume=uri, report=lambda epoch, metrics: epochs.append(epoch))
    assert epochs == [3, 4] and resumed.history == whole.history and len(whole.history) == 4
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_the_weights_of_the_lowest_validation_loss_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = images(2)
    seen, measure = list[tuple[float, dict[str, torch.Tensor]]](), training.validated

    def rising(model: Any, *given: Any) -> dict[str, float]:
        """As measured, and 10 more in the last two epochs."""
        found = measure(model, *given)
        found["validation_loss"] += 10 * (len(seen) > 1)
        seen.append((found["validation_loss"], {name: part.clone() for name, part in model.state_dict().items()}))
        return found

    monkeypatch.setattr(training, "validated", rising)
    held_out = (EVERY[60:], labels[60:])
    trained = train(pixels, EVERY[:60], labels[:60], held_out, NANO, settings(epochs=4, keep="best"), 1, 3)
    losses = [loss for loss, _ in seen]
    assert trained.best_epoch == int(np.argmin(losses)) + 1 <= 2 and len(losses) == 4
    kept, last = seen[trained.best_epoch - 1][1], seen[-1][1]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in trained.model.state_dict().items())
    assert not all(torch.equal(tensor, last[name]) for name, tensor in kept.items())
    found = probabilities(trained.model, pixels, held_out[0])
    assert log_loss(held_out[1], found[:, 1]) == pytest.approx(min(losses), rel=1e-4)


def test_training_stops_when_validation_no_longer_improves(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = images(2)
    losses = iter([3.0, 2.0, 2.5, 2.0, 2.1, 1.0])
    monkeypatch.setattr(training, "validated", lambda *_: {"validation_loss": next(losses)})
    given = settings(epochs=9, patience=3)
    trained = train(pixels, EVERY, labels, (EVERY, labels), NANO, given, 1, 0)
    assert len(trained.history) == 5 and trained.best_epoch == 2, "an equal loss is no lower one"


def test_what_needs_validation_says_so() -> None:
    pixels, labels = images(2)
    with pytest.raises(ValueError, match="keep=best need validation images, and there are none"):
        train(pixels, EVERY, labels, None, NANO, settings(steps=1, keep="best"), 1, 0)


def test_a_loss_that_is_no_number_ends_it() -> None:
    pixels, labels = images(2)
    wild = Backbone(name="test_resnet", learning_rate=1e20)
    with pytest.raises(ValueError, match=r"epoch \d: loss is nan; lower backbone.learning_rate"):
        train(pixels, EVERY, labels, None, wild, settings(steps=20, schedule="constant"), 1, 0)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_one_cycle_of_few_steps(steps: int) -> None:
    """torch's own has none where a quarter of them is one."""
    pixels, labels = images(2)
    trained = train(pixels, EVERY, labels, None, NANO, settings(steps=steps), 1, 0)
    assert all(0 < line["learning_rate"] <= NANO.learning_rate for line in trained.history)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "constant"])
def test_a_schedule_is_torchs(schedule: str) -> None:
    pixels, labels = images(2)
    trained = train(pixels, EVERY, labels, None, NANO, settings(steps=10, schedule=schedule), 1, 0)
    found = [line["learning_rate"] for line in trained.history]
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=NANO.learning_rate)
    reference: Any = {
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10),
        "one_cycle": lambda: torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=10, pct_start=0.25),
        "constant": lambda: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
    }[schedule]()
    expected = []
    for _ in range(10):
        optimizer.step()
        reference.step()
        expected.append(reference.get_last_lr()[0])
    assert found == pytest.approx(expected)


def test_bfloat16_changes_little() -> None:
    pixels, labels = images(2)
    exact, coarse = (
        train(pixels, EVERY, labels, None, NANO, settings(steps=10, precision=precision), 1, 0).history
        for precision in ("float32", "bfloat16")
    )
    assert exact[0]["loss"] != coarse[0]["loss"] and exact[0]["loss"] == pytest.approx(coarse[0]["loss"], abs=0.02)


def test_losses_are_torchs_and_class_weights_scikit_learns() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2, 0, 1])
    weights = class_weights(labels, 3, balanced=True)
    assert weights.numpy() == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels))
    assert class_weights(labels, 4, balanced=False).tolist() == [1, 1, 1, 1]
    assert class_weights(np.zeros(4, np.int64), 2, balanced=True).isfinite().all(), "a class that does not occur"
    logits, one = torch.randn(8, 3), torch.randn(8, 1)
    binary = torch.from_numpy((labels > 0).astype(np.int64))
    two, pair = torch.cat([torch.zeros(8, 1), one], 1), torch.tensor([0.7, 1.9])
    assert loss_of(one, binary, pair) == pytest.approx(float(torch.nn.functional.cross_entropy(two, binary, pair)))
    assert to_probabilities(one) == pytest.approx(two.double().softmax(1).numpy())
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels), weights)
    assert loss_of(logits, torch.from_numpy(labels), weights) == pytest.approx(float(expected))
