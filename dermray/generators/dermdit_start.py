"""The weights that a DermDiT goes on from: a checkpoint of this family, or a file of the public code."""

from __future__ import annotations

import argparse
import io

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from dermray import weights_file
from dermray.generators.dit import Transformer

CLASS_TABLE = "y_embedder.embedding_table.weight"


def read_start(file: str, transformer: Transformer) -> dict[str, Tensor]:
    """The weights in a checkpoint of this family or of the public code, whose averages are preferred.

    Raises:
        FileNotFoundError: no such file. ValueError: they are not those of `transformer`, and how they differ.
    """
    found = _read_weights(file, f"model.start_from={file}")
    wanted = transformer.state_dict()
    if CLASS_TABLE in wanted and CLASS_TABLE in found:
        found[CLASS_TABLE] = found[CLASS_TABLE][-1:]  # of DiT's 1000 classes and none, the last row is none
    missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or unknown:
        differ = {"missing": missing, "unknown": unknown}
        told = [f"{len(names)} {what}, such as {names[0]}" for what, names in differ.items() if names]
        raise ValueError(f"model.start_from={file}: not the weights of this network: {'; '.join(told)}")
    for name, value in wanted.items():
        if found[name].shape != value.shape:
            raise ValueError(
                f"model.start_from={file}: {name} is {tuple(found[name].shape)}, and this config makes it "
                f"{tuple(value.shape)}; see model.width, blocks, patch, image_size and learned_sigma"
            )
    return found


def _read_weights(file: str, name: str) -> dict[str, Tensor]:
    """Tensors by their names; `name` is how an error calls the file."""
    from dermray import storage  # not at the top: architectures alone need no storage

    if not storage.exists(storage.normalise(file)):
        raise FileNotFoundError(f"{name}: no such file")
    if storage.is_directory(storage.normalise(file)):
        raise ValueError(f"{name}: a directory; give the file of weights inside")
    data = storage.read_bytes(storage.normalise(file))
    if file.endswith(".safetensors"):
        try:
            return load(data)
        except SafetensorError:
            weights_file.check(storage.normalise(file), name)
            raise ValueError(f"{name}: damaged; copy it again") from None
    with torch.serialization.safe_globals([argparse.Namespace]):  # the public code keeps its arguments beside them
        found = weights_file.load_pickled(io.BytesIO(data), name)
    if isinstance(found, dict):
        found = found.get("ema") or found.get("model") or found
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{name}: expected tensors by name, got a {type(found).__name__}; save a state_dict()")
    return found
