"""A frozen base in four or eight bits: FLUX.1-dev's transformer takes 6 or 12 GB instead of 24.

Adapters beside it are trained in full precision, and products are computed in the base's dtype.
"""

from importlib.util import find_spec
from typing import Any

import torch
from diffusers import BitsAndBytesConfig, TorchAoConfig
from diffusers.quantizers import PipelineQuantizationConfig

NEEDS = {"nf4": "bitsandbytes", "fp8": "torchao"}


def check(kind: str, base: str, gpus: float) -> None:
    """Before anything is loaded.

    Args:
        kind: nf4 or fp8. gpus: how many there are, or will be for each worker.

    Raises:
        ValueError: no GPU, no package, or a base that is built from config alone.
    """
    if base == "nano":
        raise ValueError(f"quantization={kind}: base nano is built in full precision; give model.base, or leave it out")
    if not gpus:
        raise ValueError(
            f"quantization={kind}: needs a GPU, and there is none here; give loop.gpus_per_worker=1 for training or "
            "gpus_per_actor=1 for sampling on machines that have some, or leave model.quantization out"
        )
    if find_spec(NEEDS[kind]) is None:
        raise ValueError(f"quantization={kind}: needs {NEEDS[kind]}: pip install {NEEDS[kind]}")


def pipeline_config(kind: str, part: str, dtype: torch.dtype) -> PipelineQuantizationConfig:
    """What diffusers' from_pretrained takes to load one part of a pipeline in few bits."""
    config: Any
    if kind == "nf4":  # QLoRA (Dettmers et al. 2023)
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    else:
        from torchao.quantization import Float8WeightOnlyConfig

        config = TorchAoConfig(Float8WeightOnlyConfig())
    return PipelineQuantizationConfig(quant_mapping={part: config})
