"""Classifier backbones: timm models by name, from random weights."""

from typing import Any

import timm
from pydantic import Field, field_validator
from torch import nn

from dermray.config import Config

OURS = ("pretrained", "num_classes", "in_chans")  # arguments of timm's that are not a user's to choose


class Backbone(Config):
    """A timm model and the learning rate it likes."""

    name: str
    learning_rate: float = Field(gt=0)
    arguments: dict[str, Any] = Field({}, description="of timm.create_model, such as {img_size: 64} for a ViT")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if not timm.is_model(name):
            near = timm.list_models(f"*{name.split('_')[-1]}*")[:8]
            raise ValueError(f"not a timm model; near it: {near}")
        return name

    @field_validator("arguments")
    @classmethod
    def _ours_left_alone(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(set(arguments) & set(OURS)):
            raise ValueError(f"{taken} are set by the sweep; leave them out")
        return arguments


def build(backbone: Backbone) -> nn.Module:
    """One logit: malignant."""
    model: nn.Module = timm.create_model(backbone.name, pretrained=False, num_classes=1, **backbone.arguments)
    return model


def usual_size(backbone: Backbone) -> int:
    """Side in px of the images that timm's weights of this name were trained on."""
    config = timm.get_pretrained_cfg(backbone.name)
    return int(config.input_size[-1]) if config else 224
