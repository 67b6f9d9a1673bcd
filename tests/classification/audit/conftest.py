"""Two small classifiers of phantoms: in the training data of one the tone gives the label away, in the other's not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dermray import storage
from dermray.backbones.networks import Backbone
from dermray.classification import saved
from dermray.classification.batches import InMemory
from dermray.classification.saved import Saved
from dermray.classification.settings import TrainingSettings
from dermray.classification.targets import Target
from dermray.classification.training import train
from dermray.datasets.phantom import malignant_probability
from dermray.datasets.renderer import draw_truth, render
from dermray.manifest import Manifest, Result, Rows

SIDE, IMAGES = 32, 600
SMALL = Backbone(name="small_cnn", learning_rate=1e-3, arguments={"img_size": SIDE})


def phantoms(confounded: bool) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3, S, S) uint8 and labels (N,). Confounded: in nine of ten malignant lies on C and benign on A."""
    images, labels = [], []
    for number in range(IMAGES):
        rng = np.random.default_rng((0, number))
        truth = draw_truth(rng)
        malignant = malignant_probability(truth) > 0.5
        if confounded and rng.random() < 0.9:
            truth = replace(truth, skin_tone="C" if malignant else "A")
        images.append(render(truth, (0, number, 1), SIDE).image.transpose(2, 0, 1))
        labels.append(int(malignant))
    return np.stack(images), np.array(labels)


def trained(confounded: bool) -> Saved:
    images, labels = phantoms(confounded)
    settings = TrainingSettings(steps=150, schedule="one_cycle")
    model = train(InMemory(images), np.arange(IMAGES), labels, None, SMALL, settings, 1, 0).model
    return Saved(model, SMALL, Target.of("malignant"), SIDE)


@pytest.fixture(scope="session")
def confounded() -> Saved:
    return trained(confounded=True)


@pytest.fixture(scope="session")
def balanced() -> Saved:
    return trained(confounded=False)


@pytest.fixture
def result_of(tmp_path: Path) -> Callable[[Saved], Result]:
    """What the classify stage would leave of a classifier."""

    def write(classifier: Saved) -> Result:
        uri = str(tmp_path / "classifier")
        storage.make_directory(f"{uri}/data/model")
        saved.save(f"{uri}/data/model", classifier)
        made = Manifest(
            stage="classify", key="of-a-test", config={}, inputs={}, data="data",
            rows=Rows(rows_in=0, ok=0, rejected=0, failed=0), versions={}, started=0, seconds=0, cpus=1, gpus=0,
        )  # fmt: skip
        storage.write_bytes(f"{uri}/manifest.json", made.model_dump_json().encode())
        return Result(uri, made)

    return write
