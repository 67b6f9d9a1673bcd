import numpy as np
import pytest
import torch
from safetensors.torch import load_model, save_model
from sklearn.metrics import roc_auc_score

from dermray.classification import training
from dermray.classification.backbones import Backbone, build
from dermray.classification.run import SweepConfig
from dermray.classification.training import scores, train, try_out
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
    unknown = {"output": "x", "rows": "x", "synthetic": "x", "backbones": [{"name": "resnet_900", "learning_rate": 1}]}
    with pytest.raises(ConfigError, match="backbones.0.name='resnet_900': not a timm model; near it:"):
        validate(SweepConfig, unknown)


def test_a_backbone_given_twice_is_refused() -> None:
    twice = [{"name": "test_resnet", "learning_rate": rate} for rate in (1e-3, 6e-3)]
    with pytest.raises(ConfigError, match=r"backbones=.*each name once, got \['test_resnet'\] more than once"):
        validate(SweepConfig, {"output": "x", "rows": "x", "synthetic": "x", "backbones": twice})


@pytest.mark.parametrize(
    ("name", "arguments", "size", "message"),
    [
        ("vit_tiny_patch16_224", {}, 32,
         r"backbone vit_tiny_patch16_224: cannot be trained at the sweep's 32 px \(AssertionError: Input height \(32\) "
         r"doesn't match model \(224\)\.\); give this backbone arguments={img_size: 32}"),
        ("vit_tiny_patch16_224", {"img_size": 30}, 32, "doesn't match model .* take another backbone"),
        ("test_resnet", {"layerz": 1}, 32, "TypeError: .*layerz"),
    ],
)  # fmt: skip
def test_a_backbone_that_cannot_work_at_a_size_says_what_would(
    name: str, arguments: dict[str, int], size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        try_out(Backbone(name=name, learning_rate=1e-3, arguments=arguments), size)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("test_resnet", {}), ("test_efficientnet", {}), ("test_vit", {}), ("vit_tiny_patch16_224", {"img_size": 32})],
)
def test_a_backbone_that_works_at_a_size_passes_and_trains(name: str, arguments: dict[str, int]) -> None:
    backbone = Backbone(name=name, learning_rate=1e-3, arguments=arguments)
    try_out(backbone, 32)
    images = np.random.default_rng(0).integers(0, 255, (4, 3, 32, 32), dtype=np.uint8)
    assert scores(train(images, np.array([0, 1, 0, 1], bool), backbone, 1, 2, 0), images).shape == (4,)


def test_a_backbone_of_a_fixed_size_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(3 * 299 * 299, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(images.flatten(1))

    monkeypatch.setattr(training, "build", lambda backbone: Fixed())
    with pytest.raises(ValueError, match="cannot be multiplied.* it works at 299 px: train a generator of that image"):
        try_out(Backbone(name="inception_v3", learning_rate=1e-3), 32)


def test_a_model_that_asks_for_values_is_tried_in_earnest(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asks(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(3, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert torch.isfinite(images.mean()).item()
            return self.head(images.mean((2, 3)))

    monkeypatch.setattr(training, "build", lambda backbone: Asks())
    with torch.device("meta"), pytest.raises(Exception, match="meta"):
        Asks()(torch.zeros(1, 3, 8, 8))
    try_out(Backbone(name="test_resnet", learning_rate=1e-3), 32)


def test_what_the_sweep_sets_is_left_alone() -> None:
    with pytest.raises(ValueError, match=r"\['pretrained'\] are set by the sweep"):
        Backbone(name="test_resnet", learning_rate=1e-3, arguments={"pretrained": True})
