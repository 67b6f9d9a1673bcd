from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from dermray.evaluation.inception_score import inception_score
from tests.evaluation.made_up import gaussian, stored


def theirs(logits: np.ndarray) -> float:
    return float(isc_features_to_metric(torch.from_numpy(logits), splits=1, shuffle=False)["inception_score_mean"])


def test_that_of_torch_fidelity_on_each_part(tmp_path: Path) -> None:
    logits = 3 * gaussian(500, 7, 0)
    images = stored(tmp_path / "a", gaussian(500, 2, 0), logits=logits)
    whole = inception_score(images, parts=1)
    assert whole and whole.mean == pytest.approx(theirs(logits), rel=1e-9)
    assert (whole.spread, whole.images, whole.parts) == (0, 500, 1)
    parts = np.concatenate([block["part"] for block in images.blocks("part")]) % 10
    scores = [theirs(logits[parts == number]) for number in range(10)]
    found = inception_score(images)
    assert found and (found.mean, found.spread) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-9)


def test_sure_and_varied_answers_score_the_number_of_classes(tmp_path: Path) -> None:
    logits = 1000 * np.eye(5, dtype=np.float32)[np.arange(100) % 5]
    found = inception_score(stored(tmp_path / "a", gaussian(100, 2, 0), logits=logits), parts=1)
    assert found and found.mean == pytest.approx(5)


def test_none_without_classes_or_images(tmp_path: Path) -> None:
    images = stored(tmp_path / "a", gaussian(20, 2, 0), groups={"entity": ["nv"] * 20})
    assert inception_score(images) is None
    assert inception_score(images.of("entity", "mel")) is None
