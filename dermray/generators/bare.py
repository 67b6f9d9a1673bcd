"""Generators by their configs alone: all layers of a family at full size, and no weights.

What a base consists of is read from the small files of its pipeline. Tokenizers are stand-ins that know `captions`:
what a text encoder computes depends on how many tokens there are, not on which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import transformers
from accelerate import init_empty_weights
from torch import nn

from dermray.generators import (
    components,
    dermdit,
    flow_lora,
    frozen,
    glide,
    glide_models,
    latent_diffusion,
    nano,
    sdxl_base,
    sdxl_lora,
    stable_diffusion_base,
)
from dermray.generators.base import Generator, Texts, family

STABLE_DIFFUSION = {
    "unet": diffusers.UNet2DConditionModel, "vae": diffusers.AutoencoderKL, "text_encoder": transformers.CLIPTextModel,
}  # fmt: skip
SCHEDULER = "scheduler/scheduler_config.json"
Place = Callable[[nn.Module], None]  # puts a module's weights where they shall be, whatever they were


def build(name: str, config: Any, captions: list[str], place: Place, texts: Texts | None = None) -> Generator:
    """A generator of family `name` as `from_captions` makes it, its weights where `place` puts them.

    Args:
        texts: as for `without_encoders`, which it is then made as.

    Raises:
        FileNotFoundError: a base's configs can be read neither here nor from the hub; says which files they are.
    """
    if hasattr(config, "start_from"):
        config = config.model_copy(update={"start_from": None})  # other weights, the same layers
    if hasattr(config, "quantization"):
        config = config.model_copy(update={"quantization": None})
    if name in ("dermdit", "latent_diffusion"):
        made = _between_parts(name, config, captions, place)
    elif getattr(config, "base", frozen.NANO) == frozen.NANO:
        made = family(name).from_captions(config, captions)
    elif name == "glide":
        made = _glide(config, captions)
    elif issubclass(cls := family(name), flow_lora.FlowLora):
        made = _flow(cls, config, captions, place, texts)
    elif name == "sdxl_lora":
        made = _sdxl(config, captions, place)
    else:
        made = _stable_diffusion(name, config, captions, place)
    place(made)
    return made


def _between_parts(name: str, config: Any, captions: list[str], place: Place) -> Generator:
    """What is trained from scratch between a frozen autoencoder and a frozen text encoder."""
    parts = _components(config, captions)
    for part in ("vae", "text_encoder"):
        place(parts[part])
    if name == "dermdit":
        wanted = components.FOLDERS if config.conditional else ["vae"]
        with init_empty_weights():
            return dermdit.DermDiT(config, {part: parts[part] for part in wanted})
    with _read("model.base", config.base, ["unet/config.json"]):
        geometry = latent_diffusion.geometry(config, parts["text_encoder"].config.hidden_size)
    with init_empty_weights():
        unet = diffusers.UNet2DConditionModel(**geometry)
    place(unet)
    return latent_diffusion.LatentDiffusion(config, latent_diffusion.assembled(config, parts, unet.train()))


def _components(config: components.PartsConfig, captions: list[str]) -> dict[str, Any]:
    parts: dict[str, Any] = {"tokenizer": nano.tokenizer(captions, 77)}
    own = {"vae": config.vae, "text_encoder": config.text_encoder}
    if config.base == frozen.NANO:
        parts |= components.load(config.model_copy(update=dict.fromkeys(own)), captions)
    if config.base != frozen.NANO or config.vae:
        with _read(f"model.{'vae' if config.vae else 'base'}", config.vae or config.base, ["config.json of the VAE"]):
            vae = components.read_config(config, "vae", diffusers.AutoencoderKL.load_config)
        with init_empty_weights():
            parts["vae"] = diffusers.AutoencoderKL.from_config(vae)
    if config.base != frozen.NANO or config.text_encoder:
        field, where = f"model.{'text_encoder' if config.text_encoder else 'base'}", config.text_encoder or config.base
        with _read(field, where, ["config.json of the text encoder"]):
            text: Any = components.read_config(config, "text_encoder", transformers.CLIPTextConfig.from_pretrained)
        with init_empty_weights():
            parts["text_encoder"] = transformers.CLIPTextModel(text)
    return _at_rest(parts, config.dtype)


def _stable_diffusion(name: str, config: Any, captions: list[str], place: Place) -> Generator:
    base, revision = stable_diffusion_base.configs(config)
    with _read("model.base_config" if config.base_config else "model.base", base, _files(STABLE_DIFFUSION)):
        parts = stable_diffusion_base.without_weights(config, STABLE_DIFFUSION)
        noise = _scheduler(base, revision)
    _at_rest(parts, config.dtype)
    if name == "stable_diffusion":
        parts["unet"].float()  # as its `from_captions` loads it
    for part in parts.values():
        place(part)
    pipeline = diffusers.StableDiffusionPipeline(
        **parts, tokenizer=nano.tokenizer(captions, 77),
        scheduler=diffusers.DDIMScheduler.from_config(noise, clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    cls: Any = family(name)
    with init_empty_weights():
        made: Generator = cls(config, pipeline)
    return made


def _sdxl(config: Any, captions: list[str], place: Place) -> Generator:
    with _read("model.base", config.base, _files(sdxl_base.MODELS)):
        parts: dict[str, Any] = sdxl_base.without_weights(config, sdxl_base.MODELS)
        noise = _scheduler(config.base, config.revision)
    parts = _at_rest(parts, config.dtype)
    if not config.vae:  # a mended one has the same layers
        sdxl_base.settle(parts["vae"], config.dtype)
    for part in parts.values():
        place(part)
    words = {folder: nano.tokenizer(captions, sdxl_base.WORDS) for folder in sdxl_base.TOKENIZERS}
    scheduler = diffusers.EulerDiscreteScheduler.from_config(noise)
    pipeline = diffusers.StableDiffusionXLPipeline(**parts, **words, scheduler=scheduler)
    with init_empty_weights():
        return sdxl_lora.SdxlLora(config, pipeline)


def _flow(
    cls: type[flow_lora.FlowLora], config: Any, captions: list[str], place: Place, texts: Texts | None
) -> Generator:  # fmt: skip
    all_models = cls.models(config)
    models = {name: model for name, model in all_models.items() if texts is None or name not in cls.ENCODERS}
    with _read("model.base", config.base, _files(all_models)):
        parts: dict[str, Any] = dict(frozen.without_weights(config.base, config.revision, dict, models))
        noise = _scheduler(config.base, config.revision)
        switches = cls.switches(config)
    for part in _at_rest(parts, config.dtype).values():
        _tie(part)
        place(part)
    kind = getattr(diffusers, noise.get("_class_name", "FlowMatchEulerDiscreteScheduler"))
    made = dict.fromkeys(cls.ENCODERS) | parts | cls.stand_ins(config, captions)
    pipeline = cls.Pipeline(**made, scheduler=kind.from_config(noise), **switches)
    with init_empty_weights():
        return cls(config, pipeline, texts)


def _tie(part: Any) -> None:
    """No tie between weights lasts where there are none."""
    if hasattr(part, "shared"):  # T5
        part.encoder.embed_tokens = part.shared
    elif getattr(part.config, "tie_word_embeddings", False) and hasattr(part, "lm_head"):
        part.lm_head.weight = part.get_input_embeddings().weight


def _glide(config: glide.GlideConfig, captions: list[str]) -> Generator:
    """OpenAI's networks, which every base has that `dermray import` made."""
    words = nano.tokenizer(captions, glide.CONTEXT)
    with init_empty_weights():
        base, upsampler = (
            glide_models.Stage.build(glide_models.PUBLISHED[name], words.pad_token_id) for name in glide_models.STAGES
        )
        return glide.Glide(config, base, upsampler, words)


def _at_rest(parts: dict[str, Any], dtype: str) -> dict[str, Any]:
    for part in parts.values():
        if isinstance(part, nn.Module):
            frozen.in_precision(part, frozen.DTYPES[dtype]).eval().requires_grad_(False)
    return parts


def _files(models: dict[str, Any]) -> list[str]:
    return [f"{folder}/config.json" for folder in models] + [SCHEDULER]


def _scheduler(base: str, revision: str | None) -> Any:
    from dermray import weights

    located = weights.locate_small(base, "model.base")
    return diffusers.DDPMScheduler.load_config(located, subfolder=Path(SCHEDULER).parent.name, revision=revision)


@contextmanager
def _read(field: str, place: str, files: list[str]) -> Iterator[None]:
    """Configs are read inside. A hub out of reach is found out first: diffusers asks it again for half a minute."""
    from dermray import weights

    try:
        if place != frozen.NANO and weights.on_hub(weights.everywhere(place, field)):
            weights.hub_commit(place, None)
        yield
    except OSError as error:
        raise FileNotFoundError(
            f"{field}={place}: its configs are neither here nor to be had from the hub; a dry run needs no weights but "
            f"{', '.join(files)}: give {field} a directory or an s3:// URI that has them"
        ) from error
