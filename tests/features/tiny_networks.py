"""Networks of some thousand random weights in the files that users have of large ones."""

import io
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

SIZE = 32  # px that tiny CLIP takes
MEAN, STD = [0.6, 0.5, 0.4], [0.2, 0.3, 0.25]  # no model's usual ones


def images(count: int = 3, height: int = 45, width: int = 60, seed: int = 0) -> Tensor:
    """(B, 3, H, W) uint8: smooth, as photographs are, with noise."""
    order = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 5, generator=order)
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (smooth * 225 + torch.rand(count, 3, height, width, generator=order) * 30).to(torch.uint8)


def _preparation(directory: Path, processor: Any) -> None:
    processor(
        size={"shortest_edge": SIZE + 8}, crop_size={"height": SIZE, "width": SIZE}, image_mean=MEAN, image_std=STD
    ).save_pretrained(directory)


def _save(model: Any, directory: Path) -> Path:
    """With weights large enough that features of different images differ."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
            parameter.copy_(parameter.half())  # so that half precision, in which OpenAI's are, loses nothing
    model.save_pretrained(directory)
    return directory


def clip(directory: Path, seed: int = 0) -> Path:
    """A CLIP with both of its towers."""
    torch.manual_seed(seed)
    vision = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 256,
              "image_size": SIZE, "patch_size": 8}  # fmt: skip
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
            "vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}  # fmt: skip
    config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=16)
    _preparation(directory, transformers.CLIPImageProcessor)
    return _save(transformers.CLIPModel(config), directory)


def dinov2(directory: Path, seed: int = 0) -> Path:
    """A DINOv2 whose positions are of larger images than it is shown, as the real one's."""
    torch.manual_seed(seed)
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=8
    )
    _preparation(directory, transformers.BitImageProcessor)
    return _save(transformers.Dinov2Model(config), directory)


class _Random(FeatureExtractorInceptionV3):
    def load_state_dict(self, *_: Any, **__: Any) -> None:
        """Keeps the random weights."""


def inception_state(seed: int = 0) -> dict[str, Tensor]:
    """Tensors of torch-fidelity's Inception, random."""
    none = io.BytesIO()
    torch.save({}, none)
    none.seek(0)
    torch.manual_seed(seed)
    network = _Random("random", ["2048"], feature_extractor_weights_path=none)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
            layer.running_mean.uniform_(-0.2, 0.2)
    return dict(network.state_dict())
