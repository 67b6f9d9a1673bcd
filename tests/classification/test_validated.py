import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from dermray.backbones.networks import Backbone, build
from dermray.classification import saved
from dermray.classification.batches import InMemory
from dermray.classification.saved import Saved
from dermray.classification.targets import Target
from dermray.classification.training import probabilities
from dermray.classification.validated import FEATURES, Validated, validate

BACKBONE = Backbone(name="test_resnet", learning_rate=1e-3)
IMAGES = InMemory(np.random.default_rng(0).integers(0, 256, (60, 3, 32, 32), dtype=np.uint8))
LABELS = np.arange(20) % 2


def said_of(outputs: int, labels: np.ndarray = LABELS) -> tuple[Saved, np.ndarray]:
    """A classifier with 40 training and 20 validation images."""
    torch.manual_seed(0)
    model, target = build(BACKBONE, outputs).eval(), Target.of("malignant")
    if outputs > 1:
        target = Target("entity", tuple("abc"[:outputs]))
    rows = np.arange(40, 60)
    scores = probabilities(model, IMAGES, rows)
    told = validate(model, IMAGES, np.arange(40), (rows[: len(labels)], labels), scores[: len(labels)], 0)
    return Saved(model, BACKBONE, target, 32, told), scores


@pytest.mark.parametrize("outputs", [1, 3])
def test_it_is_kept_beside_the_weights_and_timm_still_reads_these(outputs: int, tmp_path: Path) -> None:
    given, _ = said_of(outputs, LABELS + (np.arange(20) % 3 == 0) * (outputs > 1))
    saved.save(tmp_path, given)
    found = saved.load(tmp_path).validated
    assert (found.temperature, found.operating_point) == (given.validated.temperature, given.validated.operating_point)
    assert (found.operating_point is None) == (outputs > 1) and found.temperature is not None
    ours, theirs = found.outliers, given.validated.outliers
    assert ours is not None and theirs is not None
    assert np.array_equal(ours.bank, theirs.bank) and ours.bank.shape[0] == 40
    assert (ours.threshold, ours.false_alarm_rate, ours.images) == (theirs.threshold, 1 / 21, 20)
    network = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert network.num_classes == outputs
    (tmp_path / FEATURES).unlink()
    with pytest.raises(FileNotFoundError, match=r"features\.safetensors: missing beside the config\.json"):
        saved.load(tmp_path)


def test_a_classifier_of_before_says_nothing_and_works(tmp_path: Path) -> None:
    given, scores = said_of(1)
    saved.save(tmp_path, given)
    about = json.loads((tmp_path / "config.json").read_text())
    del about["dermray"]["validated"]
    (tmp_path / "config.json").write_text(json.dumps(about))
    (tmp_path / FEATURES).unlink()
    found = saved.load(tmp_path)
    assert found.validated == Validated() and found.validated.calibration is None
    assert np.allclose(probabilities(found.model, IMAGES, np.arange(40, 60)), scores)


def test_a_split_of_one_class_has_no_operating_point_but_finds_strangers() -> None:
    told = said_of(1, np.ones(20, int))[0].validated
    assert told.temperature is None and told.operating_point is None and told.calibration is None
    assert told.outliers is not None


def test_without_validation_images_nothing_is_said() -> None:
    model = build(BACKBONE, 1).eval()
    assert validate(model, IMAGES, np.arange(9), (np.empty(0, int), np.empty(0, int)), None, 0) == Validated()
