"""What of a model is trained: LoRA adapters beside frozen weights, or the weights of some of its parts."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from dermray import manifest, storage, weights
from dermray.vlm.tuning import merged
from dermray.vlm.tuning.base import DTYPES, Base
from dermray.vlm.tuning.parts import linear_layers, part_of_each
from dermray.vlm.tuning.settings import LoraConfig, TuneConfig

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # of peft's names


def with_adapters(model: Any, base: Base, parts: tuple[str, ...], lora: LoraConfig) -> Any:
    """peft's model around a frozen one, with new fp32 adapters: A random, B zero, so that nothing is changed yet.

    Raises:
        ValueError: see `linear_layers`.
    """
    import peft

    layers = linear_layers(model, parts, lora.targets, "lora.targets")
    settings = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=layers,
        base_model_name_or_path=base.place, revision=base.revision if weights.on_hub(base.place) else None,
    )  # fmt: skip
    return peft.get_peft_model(model, settings)


def going_on(model: Any, adapter: Path) -> Any:
    """peft's model around a frozen one, with an adapter that is trained further."""
    import peft

    return peft.PeftModel.from_pretrained(model, str(adapter), is_trainable=True)


def with_trained_parts(model: Any, parts: tuple[str, ...]) -> Any:
    """A model of which the weights of `parts` are trained, in fp32: steps are too small for bf16 to keep."""
    of = part_of_each(model, [name for name, _ in model.named_parameters()])
    for name, weight in model.named_parameters():
        weight.requires_grad_(of[name] in parts)
        if weight.requires_grad:
            weight.data = weight.data.float()
    return model


def prepared(model: Any, base: Base, config: TuneConfig, adapter: Path | None) -> Any:
    """A model as a config trains it.

    Args:
        adapter: directory of the one to begin with, if not a new one.
    """
    if config.method == "full":
        return with_trained_parts(model, config.parts)
    if adapter is not None:
        return going_on(model, adapter)
    return with_adapters(model, base, config.parts, config.lora)


def save(model: Any, base: Base, directory: Path) -> None:
    """An adapter as peft reads it, or the whole model as transformers does."""
    import peft

    if isinstance(model, peft.PeftModel):
        for settings in model.peft_config.values():
            settings.base_model_name_or_path = base.place  # not where it lay on this node
        model.save_pretrained(str(directory), save_embedding_layers=False)
        written = json.loads((directory / CONFIG).read_text())
        written["target_modules"] = sorted(written["target_modules"])  # a set: each process has another order
        (directory / CONFIG).write_text(json.dumps(written, indent=2))
        return
    whole = {name: tensor.to(DTYPES[base.dtype]) if tensor.is_floating_point() else tensor
             for name, tensor in model.state_dict().items()}  # fmt: skip
    model.save_pretrained(directory, state_dict=whole, max_shard_size=merged.SHARD)
    merged.name_for_vllm(model, directory)


def locate_adapter(start_from: str) -> Path:
    """A directory here of the adapter that training begins with: that of a tune-vlm result, a directory, an s3:// URI
    or a hub id.

    Raises:
        FileNotFoundError: there is none. ValueError: not of LoRA.
    """
    made = storage.normalise(start_from)
    if storage.exists(storage.join(made, "manifest.json")):
        made = storage.join(manifest.read(made, "tune-vlm").data, "model")
    else:
        made = start_from
    found = Path(weights.locate_adapter(made, "start_from"))
    for name in (CONFIG, TENSORS):
        if not (found / name).is_file():
            raise FileNotFoundError(f"start_from={start_from}: no {name} there; expected a LoRA adapter of peft")
    kind = json.loads((found / CONFIG).read_text()).get("peft_type")
    if kind != "LORA":
        raise ValueError(f"start_from={start_from}: an adapter of type {kind}; expected LORA")
    return found


def check_adapter(adapter: Path, model: Any, base: Base, start_from: str) -> None:
    """Whether an adapter is one of this base. `model` may have no weights.

    Raises:
        ValueError: another base is named in it, a layer is missing, or has another shape; or a result of ours was
            tuned on other weights.
    """
    named = json.loads((adapter / CONFIG).read_text()).get("base_model_name_or_path")
    other = f"start_from={start_from}: adapter of another base"
    if (trained_on := _trained_on(start_from)) and trained_on["base_revision"] != base.revision:
        raise ValueError(f"{other}: it was tuned on {trained_on['base']}, whose weights are not those of {base.name}; "
                         "give the base that it was tuned on")  # fmt: skip
    if named and named != base.name and weights.is_hub_id(named) and weights.is_hub_id(base.name):
        raise ValueError(f"{other}: it was trained on {named}, base is {base.name}; give that as base")
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for name, matrix, shape in _matrices(adapter / TENSORS):
        layer = layers.get(name)
        if layer is None:
            raise ValueError(f"{other}: {base.name} has no linear layer {name}; give the base that it was trained on")
        wide = layer.in_features if matrix == "lora_A" else layer.out_features
        got = shape[1] if matrix == "lora_A" else shape[0]
        if got != wide:
            side = "inputs" if matrix == "lora_A" else "outputs"
            raise ValueError(
                f"{other}: it was trained for {got} {side} of {name}, which has {wide} in {base.name}; give the base "
                "that it was trained on"
            )


def _trained_on(start_from: str) -> dict[str, Any] | None:
    """What the manifest of a tune-vlm result says of its base; None of an adapter that is no result of ours."""
    made = storage.normalise(start_from)
    if not storage.exists(storage.join(made, "manifest.json")):
        return None
    return manifest.read(made, "tune-vlm").manifest.metrics


def _matrices(file: Path) -> Iterator[tuple[str, str, list[int]]]:
    """Layer, lora_A or lora_B, and shape."""
    with safe_open(file, "pt") as tensors:
        for key in tensors.keys():  # noqa: SIM118  # it is no dict
            name, _, matrix = key.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
            if matrix in ("lora_A", "lora_B"):
                yield name, matrix, tensors.get_slice(key).get_shape()


def weights_in(adapter: Path) -> int:
    """How many weights an adapter's matrices have."""
    return sum(math.prod(shape) for _, _, shape in _matrices(adapter / TENSORS))


def trained_and_frozen(model: nn.Module) -> tuple[int, int]:
    """Numbers of weights."""
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, trained in sizes if not trained)
