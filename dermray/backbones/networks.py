"""Classifier backbones: any timm model or the small CNN of paper 000, with random or pretrained weights.

timm takes seconds to import, so it is by what asks it: processes that serve or draw know these names and build nothing.
"""

from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from dermray.backbones import pretrained, small_cnn
from dermray.backbones.pretrained import RANDOM, TIMM
from dermray.config import Config

OURS = ("pretrained", "num_classes", "in_chans")  # arguments of timm's that are not a user's to choose


class Backbone(Config):
    """A network, where its weights are, and the learning rate it likes."""

    name: str = Field(description="of timm, with or without a pretrained tag, or small_cnn")
    weights: str = Field(RANDOM, description="random, timm, a directory or file (local, s3://), or a hub id")
    learning_rate: float = Field(gt=0)
    arguments: dict[str, Any] = Field({}, description="of timm.create_model, such as {img_size: 64} for a ViT")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name == small_cnn.NAME:
            return name
        import timm

        if not timm.is_model(name):
            near = get_close_matches(name, [*timm.list_models(), small_cnn.NAME], n=8, cutoff=0)
            raise ValueError(f"not a timm model; near it: {', '.join(near)}")
        return name

    @field_validator("arguments")
    @classmethod
    def _ours_left_alone(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(set(arguments) & set(OURS)):
            raise ValueError(f"{taken} are set by dermray; leave them out")
        return arguments


class Input(NamedTuple):
    """The images that a backbone's weights were trained on."""

    size: int  # px a side
    mean: tuple[float, ...]  # of each channel in [0, 1]
    std: tuple[float, ...]


class Classifier(nn.Module):
    """A network on pixels: (B, 3, S, S) uint8 to (B, outputs) logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        shown = (images.float() / 255 - self.mean) / self.std
        logits: Tensor = self.network(shown.contiguous(memory_format=torch.channels_last))
        return logits


def build(backbone: Backbone, outputs: int) -> Classifier:
    """A classifier with the backbone's weights and a fresh head of so many logits.

    Raises:
        FileNotFoundError, ValueError: the weights are not there, or do not fit: see `pretrained.load`.
    """
    if backbone.weights == TIMM:
        with pretrained.hub(f"{TIMM} ({backbone.name})"):
            network = network_of(backbone, outputs, pretrained=True)
    else:
        network = network_of(backbone, outputs)
    if backbone.weights not in (RANDOM, TIMM):
        pretrained.load(network, backbone.name, backbone.weights)
    if backbone.weights != RANDOM:
        pretrained.fresh_head(network)
    _, mean, std = input_of(backbone)
    return Classifier(network, mean, std)


def network_of(backbone: Backbone, outputs: int, pretrained: bool = False) -> nn.Module:
    """The network alone, with random weights or those of timm's tag."""
    if backbone.name == small_cnn.NAME:
        return small_cnn.SmallCnn(outputs, **backbone.arguments)
    import timm

    made: nn.Module = timm.create_model(backbone.name, pretrained=pretrained, num_classes=outputs, **backbone.arguments)
    return made


def input_of(backbone: Backbone) -> Input:
    """Size, mean and standard deviation by timm's data config, or by the config.json beside the weights."""
    asked = {"img_size": backbone.arguments["img_size"]} if "img_size" in backbone.arguments else {}
    if backbone.name == small_cnn.NAME:
        return Input(asked.get("img_size", small_cnn.IMAGE_SIZE), small_cnn.MEAN, small_cnn.STD)
    config = data_config(backbone.name, backbone.weights, asked)
    return Input(int(config["input_size"][-1]), tuple(config["mean"]), tuple(config["std"]))


def data_config(name: str, weights: str, asked: dict[str, Any]) -> dict[str, Any]:
    """How timm prepares images for a network of its own: by its data config, or by the config.json beside the weights.

    Args:
        asked: what goes before either, such as {"img_size": 64}.
    """
    import timm
    from timm.data import resolve_data_config

    usual = timm.get_pretrained_cfg(name)
    known = (usual.to_dict() if usual else {}) | pretrained.data_config(weights)
    found: dict[str, Any] = resolve_data_config(asked, known or {"input_size": None})
    return found
