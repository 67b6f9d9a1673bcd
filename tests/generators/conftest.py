"""Small generators that say something: fresh adapters and zeroed last layers would hide every mistake."""

from typing import TypeVar

import torch
from torch import nn

CAPTIONS = ["malignant, skin tone B: asymmetric lesion, irregular border, black.", "benign, skin tone A: red."]
FLOW_LORA = {"image_size": 32, "rank": 4}  # a small generator of any flow family
M = TypeVar("M", bound=nn.Module)


def shaken(model: M, by: float = 0.1) -> M:
    """Noise on everything that is trained."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(by * torch.randn(parameter.shape, generator=generator))
    return model
