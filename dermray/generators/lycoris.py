"""DoRA and LoKr as LyCORIS names and shapes them, which ComfyUI and A1111 read."""

import torch
from torch import Tensor

Weights = dict[str, Tensor]  # peft's names


def is_dora(weights: Weights) -> bool:
    """Whether an adapter has trained lengths."""
    return any(name.endswith(".lora_magnitude_vector") for name in weights)


def is_lokr(weights: Weights) -> bool:
    """Whether an adapter is a Kronecker product."""
    return any(".lokr_" in name for name in weights)


def dora_scale(name: str, lengths: Tensor) -> Weights:
    """Of a layer's outputs, (out,) here and (out, 1) there: LyCORIS' weight decomposition on the output axis."""
    return {f"{name}.dora_scale": lengths.reshape(-1, 1).contiguous()}


def lokr_to_lycoris(weights: Weights, alpha: float, prefix: str, rank: int) -> Weights:
    """LoKr of any model, `<prefix>_<module>.lokr_w1` and so on.

    LyCORIS leaves alpha out where both matrices are whole, peft does not: the scale goes into the first matrix, and the
    alpha that is written is one of no scale.
    """
    state: Weights = {}
    for name, weight in weights.items():
        module, _, part = name.rpartition(".")
        layer = f"{prefix}_{module.replace('.', '_')}"
        scale = alpha / rank if part in ("lokr_w1", "lokr_w1_a") else 1.0
        state[f"{layer}.{part}"] = (weight * scale).contiguous()
        state[f"{layer}.alpha"] = torch.tensor(float(rank))
    return state
