from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dermray.backbones.networks import Backbone, Classifier, build
from dermray.classification.batches import InMemory
from dermray.classification.features import WithFeatures, features_of

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)


def classifier(name: str, outputs: int = 2, **arguments: Any) -> Classifier:
    torch.manual_seed(0)
    return build(Backbone(name=name, learning_rate=1e-3, arguments=arguments), outputs).eval()


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit2"])
def test_they_are_timms_own_before_the_head(name: str) -> None:
    model = classifier(name, **({"img_size": 32} if "vit" in name else {}))
    found = features_of(model, InMemory(IMAGES), np.array([2, 0]))
    shown = (torch.from_numpy(IMAGES[[2, 0]]).float() / 255 - model.mean) / model.std
    network: Any = model.network
    with torch.inference_mode():
        theirs = network.forward_head(network.forward_features(shown), pre_logits=True)
        assert np.allclose(found, theirs.numpy(), atol=1e-5)
        assert torch.allclose(network.get_classifier()(theirs), model(torch.from_numpy(IMAGES[[2, 0]])), atol=1e-5)


def test_logits_are_the_same_and_nothing_stays_behind() -> None:
    model = classifier("small_cnn", 3, img_size=32)
    features_of(model, InMemory(IMAGES), np.arange(3))
    both = WithFeatures(model)
    with torch.inference_mode():
        logits, features = both(torch.from_numpy(IMAGES))
        assert torch.equal(logits, model(torch.from_numpy(IMAGES))) and features.shape == (3, 64)
        assert torch.allclose(F.linear(features, model.network.head.weight, model.network.head.bias), logits, atol=1e-6)
    both.hook.remove()
    assert not model.network.head._forward_pre_hooks
