"""Classifier backbones: timm models by name, from random weights."""

import timm
from pydantic import Field
from torch import nn

from dermray.config import Config


class Backbone(Config):
    """A timm model and the learning rate it likes."""

    name: str
    learning_rate: float = Field(gt=0)


def build(backbone: Backbone) -> nn.Module:
    """One logit: malignant.

    Raises:
        ValueError: timm does not know the name.
    """
    if not timm.is_model(backbone.name):
        near = timm.list_models(f"*{backbone.name.split('_')[-1]}*")[:8]
        raise ValueError(f"backbone={backbone.name!r}: not a timm model; near it: {near}")
    model: nn.Module = timm.create_model(backbone.name, pretrained=False, num_classes=1)
    return model
