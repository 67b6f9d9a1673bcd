"""LoRA adapters in peft's format: whether vLLM serves one as it is, and whether it is of this base.

vLLM 0.29 looks adapters up by the names of their layers and says nothing of those that it does not find: such an
adapter is loaded, and part of it stays silent. So what is served is decided here, before an engine starts.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermray import storage, weights
from dermray.weights_file import read_header

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_CLASSIC = ("model.language_model.layers.", "language_model.model.layers.")  # of transformers 5, and 4
# How names of those layers begin to which vLLM 0.29 applies adapters, by model_type. The other layers of a model are
# passed over: vision towers and projectors unless an experimental switch is set, output heads and embeddings always.
SERVED = {
    "llava": _CLASSIC,
    "llava_next": _CLASSIC,
    "gemma3": _CLASSIC,
    "qwen2_vl": ("model.language_model.layers.", "model.layers."),
    "qwen2_5_vl": ("model.language_model.layers.", "model.layers."),
    "qwen3_vl": ("model.language_model.layers.",),
    "idefics3": ("model.text_model.layers.",),
    "smolvlm": ("model.text_model.layers.",),
}
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM 0.29 reserves room for
# Settings of peft that vLLM 0.29 refuses, or reads past: all its layers have one rank and one scale.
BEYOND = (
    "use_dora", "modules_to_save", "lora_bias", "rank_pattern", "alpha_pattern", "layer_replication",
    "target_parameters", "trainable_token_indices", "alora_invocation_tokens", "use_qalora", "use_bdlora",
    "arrow_config", "kasa_config", "velora_config", "monteclora_config", "fan_in_fan_out",
)  # fmt: skip
_LAYER = re.compile(r"(?:base_model\.model\.)?(?P<layer>.+)\.lora_(?P<side>A|B)\.weight")


@dataclass(frozen=True)
class Adapter:
    """What an adapter says of itself, its weights' values not read."""

    uri: str
    settings: dict[str, Any]  # peft's adapter_config.json
    layers: dict[str, tuple[int, int]]  # (out, in) of the base's layers that it changes, by name
    others: tuple[str, ...]  # tensors that are no LoRA of a linear layer
    weights: int  # how many numbers its tensors have

    @property
    def rank(self) -> int:
        """The largest one of its layers', if they have several."""
        return max([int(self.settings["r"]), *map(int, (self.settings.get("rank_pattern") or {}).values())])

    @property
    def base(self) -> str | None:
        """What it was trained on, as peft notes it: a directory or hub id."""
        return self.settings.get("base_model_name_or_path") or None


def read(uri: str, field: str, revision: str | None = None) -> Adapter:
    """An adapter in a directory, in S3 or on the hub.

    Args:
        field: config's name of it, for errors.

    Raises:
        FileNotFoundError: neither is there. ValueError: it is not in peft's format.
    """
    place = weights.everywhere(uri, field)
    if weights.on_hub(place):
        place = weights.locate_adapter(place, field, revision)
    if not storage.exists(storage.join(place, CONFIG)):
        raise ValueError(f"{field}={uri}: no {CONFIG}; expected a LoRA adapter as peft saves it")
    settings = json.loads(storage.read_bytes(storage.join(place, CONFIG)))
    if settings.get("peft_type") != "LORA" or not settings.get("r"):
        raise ValueError(f"{field}={uri}: an adapter of type {settings.get('peft_type')}; expected peft's LORA with r")
    if not storage.exists(storage.join(place, TENSORS)):
        raise ValueError(f"{field}={uri}: no {TENSORS}; save the adapter with peft's save_pretrained")
    header = read_header(storage.join(place, TENSORS), f"{field}={uri}")
    shapes = {name: tensor["shape"] for name, tensor in header.items()}
    return Adapter(uri, settings, *_layers(shapes), sum(map(math.prod, shapes.values())))


def _layers(shapes: dict[str, list[int]]) -> tuple[dict[str, tuple[int, int]], tuple[str, ...]]:
    """Of tensors A (rank, in) and B (out, rank)."""
    sides: dict[str, dict[str, list[int]]] = {}
    others = []
    for name, shape in sorted(shapes.items()):
        found = _LAYER.fullmatch(name)
        if found and len(shape) == 2:
            sides.setdefault(found["layer"], {})[found["side"]] = shape
        else:
            others.append(name)
    halves = [layer for layer, both in sides.items() if len(both) == 1]
    layers = {layer: (both["B"][0], both["A"][1]) for layer, both in sides.items() if len(both) == 2}
    return layers, (*others, *halves)


def unserved(adapter: Adapter, model_type: str) -> str | None:
    """Why vLLM cannot serve an adapter as it is, or None where it can. What it cannot serve is merged into its base.

    Args:
        model_type: of the base's config.json.
    """
    if model_type not in SERVED:
        return f"vLLM applies no adapters to models of type {model_type}, as far as is known here"
    beyond = [f"{name}={adapter.settings[name]!r}" for name in BEYOND if adapter.settings.get(name)]
    if adapter.settings.get("bias", "none") != "none":
        beyond.append(f"bias={adapter.settings['bias']!r}")
    if beyond:
        return f"vLLM knows no {', '.join(beyond)}"
    if adapter.rank > RANKS[-1]:
        return f"rank {adapter.rank} is above {RANKS[-1]}, vLLM's largest"
    outside = [*adapter.others, *(layer for layer in adapter.layers if not layer.startswith(SERVED[model_type]))]
    if outside:
        count = len(adapter.layers) + len(adapter.others)
        return f"vLLM would pass over {len(outside)} of its {count} layers, which lie outside the language model's " + (
            f"blocks, such as {outside[0]}"
        )
    return None


def room(rank: int) -> int:
    """The smallest of vLLM's ranks that holds `rank`."""
    return next(size for size in RANKS if size >= rank)


def require_base(
    adapter: Adapter, base: str, sizes: Mapping[str, tuple[int, int]] | None, field: str, whole_names: bool = False
) -> None:
    """Refuse an adapter of another base. Starts nothing and loads no weights.

    Args:
        base: its name, for the error. sizes: of its linear layers, see `linear_sizes`; None where nobody knows them.
        field: config's name of the adapter. whole_names: layers are found by these alone; without it also by names
            that begin as in another version of transformers.

    Raises:
        ValueError: layers that the base does not have, or has in another size; or another model's name.
    """
    named = adapter.base
    if named and weights.may_change(named) and weights.may_change(base) and _name(named) != _name(base):
        raise ValueError(f"{field}={adapter.uri}: an adapter of {named}, not of {base}; give {named}")
    wrong = next(_misfits(adapter, sizes, whole_names), None) if sizes is not None else None
    if wrong:
        told = f" (it was trained on {named})" if named else ""
        raise ValueError(f"{field}={adapter.uri}: an adapter of another base than {base}{told}: {wrong}")


def _name(hub_id: str) -> str:
    """Of a model, whoever put it on the hub."""
    return hub_id.rpartition("/")[2].lower()


def _misfits(adapter: Adapter, sizes: Mapping[str, tuple[int, int]], whole_names: bool) -> Iterator[str]:
    tails: dict[str, set[tuple[int, int]]] = {}
    for name, size in sizes.items():
        tails.setdefault(_tail(name), set()).add(size)
    for layer, size in adapter.layers.items():
        there = {sizes[layer]} if layer in sizes else set() if whole_names else tails.get(_tail(layer), set())
        if size not in there:
            has = " or ".join(f"{out} x {into}" for out, into in sorted(there))
            yield f"its {layer} is {size[0]} x {size[1]}, {f'there it is {has}' if has else 'there is none there'}"


def _tail(name: str) -> str:
    """From `layers.3` on, if a name has that."""
    return name[name.rfind("layers.") :] if "layers." in name else name


def sizes_of(config: dict[str, Any]) -> dict[str, tuple[int, int]] | None:
    """`linear_sizes` of the model of a config.json, built without weights; None where transformers has no such one."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    if config.get("model_type") not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return None
    settings = {name: value for name, value in config.items() if name != "model_type"}
    with torch.device("meta"):
        return linear_sizes(
            AutoModelForImageTextToText.from_config(AutoConfig.for_model(config["model_type"], **settings))
        )


def linear_sizes(model: Any) -> dict[str, tuple[int, int]]:
    """(out, in) of a model's linear layers, by name."""
    from torch import nn

    linear = {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    return {name: (part.out_features, part.in_features) for name, part in linear.items()}


def config_of(small: str | Path, revision: str | None = None) -> dict[str, Any]:
    """A model's config.json as transformers reads it.

    Args:
        small: directory here, or a hub id: what `weights.locate_small` gives.
    """
    if weights.on_hub(str(small)):
        from transformers import PretrainedConfig

        read: dict[str, Any] = PretrainedConfig.get_config_dict(str(small), revision=revision)[0]
        return read
    return dict(json.loads((Path(small) / "config.json").read_text()))
