"""The frozen parts of a latent model one by one: an autoencoder here, a text encoder there, as papers combine them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from dermray.config import Config
from dermray.generators import frozen, nano
from dermray.generators.coverage import TokenReader

FOLDERS = ("vae", "text_encoder", "tokenizer")  # of a Stable Diffusion pipeline
PLACES = "directory, s3:// URI or hub id"


class PartsConfig(Config):
    """Where an autoencoder and a text encoder come from."""

    base: str = Field("nano", description=f"nano, or a Stable Diffusion pipeline: {PLACES}")
    revision: str | None = None
    vae: str | None = Field(None, description=f"an autoencoder of its own, instead of the base's: {PLACES}")
    vae_revision: str | None = None
    text_encoder: str | None = Field(
        None, description=f"a CLIP of its own, with its tokenizer beside it, instead of the base's: {PLACES}"
    )
    text_encoder_revision: str | None = None
    dtype: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of frozen parts")


def load(config: PartsConfig, captions: list[str], wanted: Iterable[str] = FOLDERS) -> dict[str, Any]:
    """Parts by the names of their folders in a pipeline, in evaluation mode and without gradients.

    Args:
        captions: whose words a nano base knows. wanted: of FOLDERS.

    Raises:
        FileNotFoundError, ValueError: a place that does not exist or has no such part.
    """
    made = _nano(config, captions) if config.base == frozen.NANO else {}
    parts = {name: _load(config, name) if place_of(config, name)[0] != frozen.NANO else made[name] for name in wanted}
    for part in parts.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    return parts


def reader(config: PartsConfig, captions: list[str], saved: Path | None = None) -> TokenReader:
    """CLIP's tokenizer; it reads 77 tokens.

    Args:
        saved: a checkpoint, inside which a nano base lies.
    """
    place, folder, revision = place_of(config, "tokenizer")
    made = frozen.tokenizer(
        frozen.saved_base(place, saved), revision, folder, captions, 77, field_of(config, "tokenizer")
    )
    return TokenReader("clip", made, made.model_max_length)


def read_config(config: PartsConfig, name: str, load_config: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The config of a part, without its weights. `load_config`: of a class of diffusers."""
    from dermray import weights

    place, folder, revision = place_of(config, name)
    return load_config(weights.locate_small(place, field_of(config, name)), subfolder=folder, revision=revision)


def save(parts: dict[str, Any], directory: Path) -> None:
    """Each in its folder, as a pipeline has them."""
    for name, part in parts.items():
        part.save_pretrained(directory / name)


def _nano(config: PartsConfig, captions: list[str]) -> dict[str, Any]:
    """Made with its own seed, which must not become that of what is trained beside it."""
    with torch.random.fork_rng(devices=[]):
        pipeline = frozen.in_precision(nano.stable_diffusion(captions), frozen.DTYPES[config.dtype])
    return {name: getattr(pipeline, name) for name in FOLDERS}


def place_of(config: PartsConfig, name: str) -> tuple[str, str, str | None]:
    """Where a part is, in which folder there, and at which revision."""
    if name == "vae" and config.vae:
        return config.vae, "", config.vae_revision
    if name != "vae" and config.text_encoder:
        return config.text_encoder, "", config.text_encoder_revision
    return config.base, name, config.revision


def field_of(config: PartsConfig, name: str) -> str:
    """Config's name for the place of a part."""
    own = "vae" if name == "vae" else "text_encoder"
    return f"model.{own if getattr(config, own) else 'base'}"


def _load(config: PartsConfig, name: str) -> Any:
    import diffusers
    import transformers

    from dermray import weights

    place, folder, revision = place_of(config, name)
    field = field_of(config, name)
    located = weights.locate(place, field, revision)
    if weights.on_hub(located):
        where = {"subfolder": folder, "revision": revision}
    elif (path := Path(located) / folder).is_dir() and any(path.glob("*.json")):
        located, where = str(path), {}
    else:
        raise ValueError(
            f"{field}={place}: expected {f'a pipeline with a folder {folder}' if folder else 'the folder of one model'}"
            ", config.json and weights inside; there is none"
        )
    if name == "tokenizer":
        return transformers.AutoTokenizer.from_pretrained(located, **where)
    model = diffusers.AutoencoderKL if name == "vae" else transformers.CLIPTextModel
    return model.from_pretrained(located, dtype=frozen.DTYPES[config.dtype], **where)
