import pytest
import torch

from dermray.backbones.networks import Backbone
from dermray.classification import try_out as module
from dermray.classification.try_out import try_out


@pytest.mark.parametrize(
    ("name", "arguments", "size", "message"),
    [
        ("vit_tiny_patch16_224", {}, 32,
         r"backbone vit_tiny_patch16_224: cannot be trained at 32 px \(AssertionError: Input height \(32\) "
         r"doesn't match model \(224\)\.\); give this backbone arguments={img_size: 32}"),
        ("vit_tiny_patch16_224", {"img_size": 30}, 32, "doesn't match model .* give this .*{img_size: 32}"),
        ("small_cnn", {}, 64, "cannot be trained at 64 px .* give this .*{img_size: 64}"),
        ("small_cnn", {}, 7, "it works at 128 px"),
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
    [
        ("test_resnet", {}),
        ("test_vit", {}),
        ("vit_tiny_patch16_224", {"img_size": 32}),
        ("small_cnn", {"img_size": 32}),
    ],
)
def test_a_backbone_that_works_at_a_size_passes(name: str, arguments: dict[str, int]) -> None:
    try_out(Backbone(name=name, learning_rate=1e-3, arguments=arguments), 32, outputs=3)


def test_a_backbone_of_a_fixed_size_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(3 * 299 * 299, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(images.flatten(1))

    monkeypatch.setattr(module, "network_of", lambda backbone, outputs: Fixed())
    with pytest.raises(ValueError, match="cannot be multiplied.* it works at 299 px: take images of that size"):
        try_out(Backbone(name="inception_v3", learning_rate=1e-3), 32)


def test_a_model_that_asks_for_values_is_tried_in_earnest(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asks(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(3, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert torch.isfinite(images.mean()).item()
            return self.head(images.mean((2, 3)))

    monkeypatch.setattr(module, "network_of", lambda backbone, outputs: Asks())
    with torch.device("meta"), pytest.raises(Exception, match="meta"):
        Asks()(torch.zeros(1, 3, 8, 8))
    try_out(Backbone(name="test_resnet", learning_rate=1e-3), 32)
