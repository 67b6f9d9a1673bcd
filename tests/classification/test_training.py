import numpy as np
import pytest
import torch
from safetensors.torch import load_model, save_model
from sklearn.metrics import roc_auc_score

from dermray.classification.backbones import Backbone, build
from dermray.classification.run import SweepConfig
from dermray.classification.training import scores, train
from dermray.config import ConfigError, validate


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_it_learns_and_gives_the_same_again(name: str, tmp_path: object) -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(80) < 0.5
    images = rng.integers(0, 120, (80, 3, 32, 32), dtype=np.uint8)
    images[labels, 0] += 80  # malignant ones are redder
    backbone = Backbone(name=name, learning_rate=6e-3)
    model = train(images, labels, backbone, steps=40, batch_size=16, seed=1)
    found = scores(model, images)
    assert roc_auc_score(labels, found) > 0.95 and found.min() >= 0 and found.max() <= 1
    again = train(images, labels, backbone, steps=40, batch_size=16, seed=1)
    assert np.array_equal(found, scores(again, images))
    save_model(model, f"{tmp_path}/m.safetensors")
    loaded = build(backbone).eval()
    load_model(loaded, f"{tmp_path}/m.safetensors")
    assert torch.allclose(torch.tensor(scores(loaded, images)), torch.tensor(found), atol=1e-5)


def test_unknown_backbones_are_named() -> None:
    with pytest.raises(ValueError, match="'resnet_900': not a timm model"):
        build(Backbone(name="resnet_900", learning_rate=1e-3))


def test_a_backbone_given_twice_is_refused() -> None:
    twice = [{"name": "test_resnet", "learning_rate": rate} for rate in (1e-3, 6e-3)]
    with pytest.raises(ConfigError, match=r"backbones=.*each name once, got \['test_resnet'\] more than once"):
        validate(SweepConfig, {"output": "x", "rows": "x", "synthetic": "x", "backbones": twice})
