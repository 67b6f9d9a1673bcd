"""Whether the frozen parts that a config names are there, of their kind and size, seen without their weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dermray import weights_file
from dermray.config import ConfigError
from dermray.generators import base_check, frozen, nano
from dermray.generators.components import FOLDERS, PartsConfig, field_of, place_of

KINDS = {  # by the name of a part; `clip` has both of its towers
    "vae": ("AutoencoderKL",), "text_encoder": ("clip", "clip_text_model"), "unet": ("UNet2DConditionModel",),
}  # fmt: skip
SIZES: dict[str, dict[str, Any]] = {  # where a config leaves them out
    "vae": {"latent_channels": 4}, "text_encoder": {"hidden_size": 512},
    "unet": {"cross_attention_dim": 1280, "in_channels": 4, "out_channels": 4},
}  # fmt: skip
NANO: dict[str, dict[str, Any]] = {
    "text_encoder": {"hidden_size": nano.WIDTH}, "unet": {"cross_attention_dim": nano.WIDTH},
}  # fmt: skip


def check(config: PartsConfig, wanted: Iterable[str] = FOLDERS) -> dict[str, dict[str, Any]]:
    """The configs of models that are directories or nano; those on the hub are the hub's affair.

    Args:
        wanted: of FOLDERS, and `unet`, of which the config alone is needed.

    Raises:
        FileNotFoundError, ValueError: a place that does not exist, has no such part, or another kind of it.
    """
    configs = {}
    for name in wanted:
        place, folder, _ = place_of(config, name)
        nano_part = NANO.get(name, {}) if place == frozen.NANO else None
        found = _found(name, place, folder, field_of(config, name)) if nano_part is None else nano_part
        if found is not None and name in SIZES:
            configs[name] = SIZES[name] | found
    return configs


def check_width(configs: dict[str, dict[str, Any]], field: str, width: int) -> None:
    """Whether a network takes as many channels of text as the text encoder gives, where that is known.

    Args:
        configs: what `check` gave. field: config's name for the width.

    Raises:
        ConfigError: it does not.
    """
    given = configs.get("text_encoder", {}).get("hidden_size", width)
    if given != width:
        raise ConfigError(f"{field}={width}: the text encoder has {given} channels; give {given}, or another encoder")


def _found(name: str, place: str, folder: str, field: str) -> dict[str, Any] | None:
    """The part's config; none of a tokenizer, which has none, and of what the hub has."""
    from dermray import storage, weights

    root = weights.everywhere(place, field)
    if weights.on_hub(root):
        return None
    if weights.is_single_file(root):
        raise ValueError(f"{field}={place}: expected a directory in diffusers' format, got a single file")
    root = storage.join(root, folder) if folder else root
    files = [file.rpartition("/")[2] for file in storage.list_files(root, below=False)]
    wanted = f"expected a pipeline with a folder {folder}" if folder else "expected the folder of one model"
    if name == "tokenizer":
        if not set(base_check.TOKENIZERS) & set(files):
            names = " or ".join(base_check.TOKENIZERS)
            raise ValueError(f"{field}={place}: {wanted}, a tokenizer inside; there is no {names}")
        return None
    if "config.json" not in files:
        raise ValueError(f"{field}={place}: {wanted}, config.json and weights inside; there is no config.json")
    own = f"{folder}/" if folder else ""
    about = base_check.read_json(f"{root}/config.json", f"{field}={place}: {own}config.json")
    kind = about.get("_class_name") or about.get("model_type")
    if kind not in KINDS[name]:
        raise ValueError(f"{field}={place}: expected a {name} of kind {KINDS[name][0]}, got {kind}; give another one")
    if name != "unet" and not any(file.endswith(weights.TENSORS) for file in files):
        raise ValueError(f"{field}={place}: {wanted}, config.json and weights inside; there are no weights; copy all")
    if name != "unet":
        for file in base_check.loaded(files):
            weights_file.check(f"{root}/{file}", f"{field}={place}: {own}{file}")
    sizes: dict[str, Any] = about.get("text_config", {}) if kind == "clip" else about
    return sizes
