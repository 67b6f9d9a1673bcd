"""LoRA adapters beside a frozen model's layers, by peft."""

import json
from collections.abc import Callable
from typing import Any

from safetensors.torch import load
from torch import Tensor, nn

NAME = "default"
ReadKohya = Callable[[dict[str, Tensor]], dict[str, tuple[dict[str, Tensor], float]]]  # prefix -> weights, alpha


def add_lora(model: nn.Module, targets: str | list[str], rank: int, alpha: float) -> nn.Module:
    """Freeze a model and put adapters beside its linear layers: W x + alpha / rank * B A x, B zero at the start.

    Args:
        targets: a regular expression of whole module names, or name endings.

    Raises:
        ValueError: no layer of that name.
    """
    from peft import LoraConfig, inject_adapter_in_model

    model.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, init_lora_weights="gaussian")
    inject_adapter_in_model(config, model, NAME)
    for parameter in model.parameters():
        if parameter.requires_grad:  # adapters are trained in full precision beside a base of half
            parameter.data = parameter.data.float()
    return model


def lora_weights(model: nn.Module) -> dict[str, Tensor]:
    """The adapter's weights by peft's names."""
    from peft import get_peft_model_state_dict

    found: dict[str, Tensor] = get_peft_model_state_dict(model, adapter_name=NAME)
    return {name: value.detach().contiguous() for name, value in found.items()}


def put_lora_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Weights that `lora_weights` gave back into their adapter.

    Raises:
        ValueError: they belong to another model or other layers.
    """
    from peft import set_peft_model_state_dict

    expected = {name: tuple(value.shape) for name, value in lora_weights(model).items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ValueError(
            f"adapter of {len(found)} tensors does not fit: expected {len(expected)}; the first that differs is "
            f"{wrong[0]}: {found.get(wrong[0])} here, {expected.get(wrong[0])} in the model"
        )
    set_peft_model_state_dict(model, weights, adapter_name=NAME)


def about_lora(model: nn.Module) -> dict[str, Any]:
    """The adapter's config (rank, alpha, layers), as diffusers writes it into a file's metadata."""
    config: Any = model.peft_config[NAME]  # type: ignore[index]  # put there by peft
    return {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}


def without_adapters(model: Any) -> Any:
    """A copy of a model of diffusers or transformers as it was before `add_lora`."""
    make = getattr(type(model), "from_config", type(model))
    bare = make(model.config)
    weights = {name.replace(".base_layer.", "."): value for name, value in model.state_dict().items()}
    bare.load_state_dict({name: value for name, value in weights.items() if ".lora_" not in name})
    return bare.to(model.dtype).eval().requires_grad_(False)


def go_on_from(file: str, parts: dict[str, nn.Module], alpha: float, read_kohya: ReadKohya) -> None:
    """Put a file's adapters into models that have fresh ones.

    Args:
        file: safetensors, local or in S3, as `save_lora_weights` of diffusers or as kohya's scripts write them.
        parts: models by their prefix in diffusers' files (transformer, unet, text_encoder).

    Raises:
        FileNotFoundError, ValueError: no such file; an adapter of other layers, another rank or alpha.
    """
    from dermray import node_cache, storage  # not at the top: adapters alone need no storage

    data = node_cache.local_file(storage.normalise(file)).read_bytes()
    state = load(data)
    if any(name.startswith("lora_") for name in state):
        found = read_kohya(state)
    else:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = json.loads(header.get("__metadata__", {}).get("lora_adapter_metadata", "{}"))
        found = {
            prefix: (
                {n.removeprefix(f"{prefix}."): v for n, v in state.items() if n.startswith(f"{prefix}.")},
                about.get(f"{prefix}.lora_alpha", alpha),
            )
            for prefix in parts
        }
    for prefix, (weights, their_alpha) in found.items():
        put_lora_weights(parts[prefix], weights)
        if their_alpha != alpha:
            raise ValueError(f"start_from={file}: alpha {their_alpha}, but model.alpha={alpha}; give it the same")
