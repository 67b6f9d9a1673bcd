"""A LoRA file of whatever trainer: its layers by the names in the file, or one sentence that says why not.

diffusers, peft, kohya's scripts, ComfyUI, OneTrainer and AI-toolkit name layers differently, but all store a plain LoRA
as two matrices and sometimes an alpha. Every other key changes what the adapter does, so a file that has one is
refused: read without it, it would be another adapter.
"""

import json
import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from dermray.weights_file import NO_WEIGHTS

SUFFIXES = {
    "lora_A.weight": "down", "lora_B.weight": "up",  # peft, diffusers, AI-toolkit
    "lora_A.default.weight": "down", "lora_B.default.weight": "up",  # peft's modules, saved without its own function
    "lora_down.weight": "down", "lora_up.weight": "up",  # kohya, ComfyUI, OneTrainer
    "lora.down.weight": "down", "lora.up.weight": "up",  # diffusers before peft
    "alpha": "alpha",
}  # fmt: skip
OLD = {  # what diffusers wrote before it had peft, by regular expressions, and how it writes it now
    r"\.processor\.": ".",
    r"\.to_([qkv])_lora\.": r".to_\1.lora.",
    r"\.to_out_lora\.": ".to_out.0.lora.",
    r"\.lora_linear_layer\.": ".lora.",
}
METHODS = {  # other methods, by regular expressions of their keys
    r"dora_scale$": "DoRA",  # kohya, LyCORIS
    r"lora_magnitude_vector": "DoRA",  # peft
    r"\.hada_": "LoHa",
    r"\.lokr_": "LoKr",
    r"\.oft_": "OFT",
    r"\.lora_mid": "LoCon in Tucker's form",
    r"\.on_input$": "(IA)3",
    r"\.[wb]_norm$": "trained norm layers",
    r"\.diff(_b)?$": "trained weights or biases beside the adapters",
    r"\.lora_B.*\.bias$": "adapters with biases",
    r"^base_model\.model\.": "peft's own format, whose alpha lies in another file (adapter_config.json)",
}
FOREIGN = {  # first bytes of what people take for an adapter
    b"PK\x03\x04": "a pickled file of torch (.bin, .pt)",
    b"\x80": "a pickled file (.bin, .pt, .ckpt)",
    **NO_WEIGHTS,
}


@dataclass(frozen=True)
class Layer:
    """W x + alpha / rank * up down x.

    Args:
        down: A, (rank, in). up: B, (out, rank). alpha: None where the file has none, which diffusers and peft read as
            the rank: a scale of 1.
    """

    down: Tensor
    up: Tensor
    alpha: float | None

    @property
    def rank(self) -> int:
        """Rows of A."""
        return len(self.down)


def read_tensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        ValueError: damaged, cut, or no such file at all.
    """
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(_why_unreadable(data, error)) from None
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # its length stands in the first eight bytes
    return tensors, header.get("__metadata__", {})


def metadata(data: bytes) -> dict[str, str]:
    """What a safetensors file says of itself; nothing where it cannot be read."""
    try:
        return read_tensors(data)[1]
    except ValueError:
        return {}


def read_layers(data: bytes) -> dict[str, Layer]:
    """All adapters of a file, by its own names of layers.

    Raises:
        ValueError: damaged, another method than plain LoRA, or keys that belong to none.
    """
    tensors, metadata = read_tensors(data)
    sides: dict[str, dict[str, Tensor]] = {"down": {}, "up": {}, "alpha": {}}
    unknown = []
    for key, value in tensors.items():
        name = _modern(key)
        suffix = next((s for s in SUFFIXES if name.endswith(f".{s}")), None)
        if suffix is None or _methods(key):
            unknown.append(key)
        else:
            sides[SUFFIXES[suffix]][name.removesuffix(f".{suffix}")] = value
    if unknown:
        raise ValueError(_why_unknown(unknown))
    if sum(map(len, sides.values())) < len(tensors):
        raise ValueError("two tensors for one matrix, under names of two programs; save the adapter again with one")
    down, up, alpha = sides["down"], sides["up"], sides["alpha"]
    if not down:
        raise ValueError("a safetensors file without adapters; expected one that a LoRA trainer wrote")
    if alone := (down.keys() ^ up.keys()) | (alpha.keys() - down.keys()):
        raise ValueError(f"layers of which a part is missing: {some(alone)}; the file is damaged")
    theirs = _alphas_of_metadata(metadata)
    alphas = {name: theirs.get(name.partition(".")[0]) for name in down} | {n: _number(n, a) for n, a in alpha.items()}
    layers = {name: Layer(down[name], up[name], alphas[name]) for name in sorted(down)}
    _check_matrices(layers)
    return layers


def some(names: Collection[str]) -> str:
    """The first few of many names, and how many there are."""
    first = ", ".join(sorted(names)[:3])
    return f"{first} and {len(names) - 3} more" if len(names) > 3 else first


def counts(values: Iterable[Any]) -> str:
    """`4 in 12 layers, 8 in 3`."""
    every = sorted(values)
    told = [f"{value:g} in {every.count(value)}" for value in sorted(set(every))]
    return ", ".join([f"{told[0]} layers", *told[1:]])


def _why_unreadable(data: bytes, error: SafetensorError) -> str:
    if not data:
        return "empty; download or save it again"
    kind = next((kind for start, kind in FOREIGN.items() if data.lstrip().startswith(start)), None)
    if kind:
        return f"{kind}; expected an adapter in a .safetensors file"
    return f"damaged or cut off, {len(data)} bytes that are no whole safetensors file ({error}); download it again"


def _why_unknown(keys: list[str]) -> str:
    methods = sorted({method for key in keys for method in _methods(key)})
    what = f"this is {' and '.join(methods)}" if methods else "keys that no LoRA has"
    return (
        f"{what}: {some(keys)}; only plain LoRA is read (A and B matrices, and alpha), and without these keys it would "
        "be another adapter"
    )


def _modern(key: str) -> str:
    for old, new in OLD.items():
        key = re.sub(old, new, key)
    return key


def _methods(key: str) -> list[str]:
    return [method for pattern, method in METHODS.items() if re.search(pattern, key)]


def _alphas_of_metadata(metadata: dict[str, str]) -> dict[str, float]:
    """Alphas by the part of the pipeline (unet, text_encoder, transformer), as diffusers writes peft's configs."""
    try:
        settings = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except json.JSONDecodeError as error:
        raise ValueError(f"its metadata is damaged ({error}); save the adapter again") from None
    if not isinstance(settings, dict):
        raise ValueError(f"its metadata is damaged (got {settings!r:.40}, expected names and values); save it again")
    for name in ("use_dora", "use_rslora", "lora_bias", "alpha_pattern"):  # each changes the scale, or what is added
        if wrong := [key for key, value in settings.items() if key.endswith(f".{name}") and value]:
            raise ValueError(f"trained with {some(wrong)}; only plain LoRA of one alpha is read")
    alphas = {key: value for key, value in settings.items() if key.endswith(".lora_alpha")}
    for key, value in alphas.items():
        _require_alpha(key, value)
    return {key.partition(".")[0]: float(value) for key, value in alphas.items()}


def _require_alpha(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name}={value!r}: expected a number; save the adapter again")


def _number(name: str, alpha: Tensor) -> float:
    if alpha.numel() != 1:
        raise ValueError(f"{name}.alpha: expected one number, got shape {tuple(alpha.shape)}; the file is damaged")
    _require_alpha(f"{name}.alpha", float(alpha))
    return float(alpha)


def _check_matrices(layers: dict[str, Layer]) -> None:
    kinds = {str(t.dtype) for layer in layers.values() for t in (layer.down, layer.up)}
    if strange := kinds - {"torch.float32", "torch.float16", "torch.bfloat16", "torch.float64"}:
        raise ValueError(
            f"weights of {', '.join(sorted(strange))}: expected 16- or 32-bit floating point; convert them"
        )
    if empty := [name for name, layer in layers.items() if not layer.rank]:
        raise ValueError(f"adapters of rank 0: {some(empty)}; the file is damaged")
    if convolutions := [name for name, layer in layers.items() if layer.down.ndim != 2 or layer.up.ndim != 2]:
        raise ValueError(
            f"adapters of convolutions: {some(convolutions)}; this run has adapters beside linear layers only"
        )
    if odd := [name for name, layer in layers.items() if layer.up.shape[1] != layer.rank]:
        raise ValueError(f"matrices that do not fit together: {some(odd)}; the file is damaged")
    if wrong := [n for n, layer in layers.items() if not all(torch.isfinite(t).all() for t in (layer.down, layer.up))]:
        raise ValueError(f"values that are no numbers: {some(wrong)}; the training that made it has failed")
