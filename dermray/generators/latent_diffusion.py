"""LDM (Rombach et al. 2022), DermDiT's baseline: a U-Net trained from scratch in Stable Diffusion's latents.

Conditional on CLIP's text; with caption_dropout 1 it is the unconditional one.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Self

import diffusers
import torch
from pydantic import Field, field_validator

from dermray.config import ConfigError
from dermray.generators import components, components_check, frozen, nano
from dermray.generators.coverage import Reader
from dermray.generators.latent_unet import LatentUNet, LatentUNetConfig


class LatentDiffusionConfig(LatentUNetConfig, components.PartsConfig):
    """The U-Net to train; autoencoder and text encoder are those of `base`, or come one by one."""

    unet: dict[str, Any] | None = Field(
        None,
        description="arguments of diffusers' UNet2DConditionModel; default: the base's geometry, weights anew, and "
        "without a base Stable Diffusion 1's",
    )

    @field_validator("unet")
    @classmethod
    def _known_arguments(cls, unet: dict[str, Any] | None) -> dict[str, Any] | None:
        known = inspect.signature(diffusers.UNet2DConditionModel.__init__).parameters.keys() - {"self"}
        if unknown := sorted(set(unet or {}) - known):
            raise ValueError(f"{unknown} are no arguments of UNet2DConditionModel; there are: {sorted(known)}")
        return unet


class LatentDiffusion(LatentUNet):
    """A U-Net of random weights between a frozen autoencoder and a frozen text encoder."""

    Config = LatentDiffusionConfig
    config: LatentDiffusionConfig

    @classmethod
    def from_captions(cls, config: LatentDiffusionConfig, captions: list[str]) -> Self:
        """A new U-Net; `captions` make the words of the nano base."""
        parts = components.load(config, captions)
        unet = diffusers.UNet2DConditionModel(**geometry(config, parts["text_encoder"].config.hidden_size))
        return cls(config, assembled(config, parts, unet.train()))

    @classmethod
    def makes_words(cls, config: LatentDiffusionConfig) -> bool:  # type: ignore[override]  # its own config
        """The nano base's tokenizer is made."""
        return config.text_encoder is None and config.base == frozen.NANO

    @classmethod
    def readers(cls, config: LatentDiffusionConfig, captions: list[str], saved: Path | None = None) -> list[Reader]:  # type: ignore[override]  # its own config
        """CLIP's, or none where every caption is dropped; a checkpoint is a whole pipeline."""
        if config.caption_dropout == 1:
            return []
        if saved is not None:
            config = config.model_copy(update={"base": str(saved), "revision": None, "text_encoder": None})
        return [components.reader(config, captions)]

    @classmethod
    def check_start(cls, config: LatentDiffusionConfig) -> None:
        """The frozen parts by their configs, and whether the U-Net goes between them."""
        if config.unet is not None:
            _check_arguments(config.unet)
        from_base = config.unet is None and not _fits_parts(config)
        configs = components_check.check(config, (*components.FOLDERS, *(["unet"] if from_base else [])))
        unet = configs.get("unet") if config.unet is None else components_check.SIZES["unet"] | config.unet
        if unet is None:
            return
        components_check.check_width(configs, "model.unet.cross_attention_dim", unet["cross_attention_dim"])
        channels = configs.get("vae", {}).get("latent_channels", unet["in_channels"])
        if (unet["in_channels"], unet["out_channels"]) != (channels, channels):
            raise ConfigError(
                f"model.unet: in_channels={unet['in_channels']}, out_channels={unet['out_channels']}, and the "
                f"autoencoder's latents have {channels}; give {channels} for both, or another autoencoder"
            )

    def save(self, directory: Path) -> None:
        """A pipeline folder of diffusers', autoencoder and text encoder included."""
        self.save_pipeline(directory)
        frozen.write_about(directory, family="latent_diffusion", config=self.config.model_dump())

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote: the U-Net as it was trained, in full precision."""
        config = LatentDiffusionConfig(**frozen.read_about(directory, "latent_diffusion")["config"])
        return cls(config, frozen.load_pipeline(str(directory), None, config.dtype, dtypes={"unet": "fp32"}))


def _check_arguments(unet: dict[str, Any]) -> None:
    """Whether diffusers makes a network of them; it is made without weights."""
    try:
        with torch.device("meta"):
            diffusers.UNet2DConditionModel(**unet)
    except (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, AttributeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(f"model.unet={unet}: diffusers makes no network of it: {reason}") from None


def geometry(config: LatentDiffusionConfig, text_width: int) -> dict[str, Any]:
    """Arguments of the U-Net."""
    if config.unet is not None:
        return config.unet
    unet = diffusers.UNet2DConditionModel
    if config.base != frozen.NANO:
        return _arguments(components.read_config(config, "unet", unet.load_config))
    if _fits_parts(config):  # diffusers' defaults are Stable Diffusion 1's but for the text
        return {"cross_attention_dim": text_width, "sample_size": config.image_size // 8}
    with torch.random.fork_rng(devices=[]):
        return _arguments(nano.unet().config)


def _fits_parts(config: LatentDiffusionConfig) -> bool:
    """Whether the U-Net takes its width from a text encoder that is no base's."""
    return config.base == frozen.NANO and bool(config.vae and config.text_encoder)


def assembled(
    config: LatentDiffusionConfig, parts: dict[str, Any], unet: diffusers.UNet2DConditionModel
) -> diffusers.StableDiffusionPipeline:
    """A pipeline of these parts, with Stable Diffusion's noise."""
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        prediction_type=config.prediction_type or "epsilon", steps_offset=1, timestep_spacing="trailing",
    )  # fmt: skip
    made = diffusers.StableDiffusionPipeline(
        **parts, unet=unet, scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


def _arguments(config: Any) -> dict[str, Any]:
    """What of a saved config the U-Net is made from: the rest says which class and version wrote it."""
    return {name: value for name, value in dict(config).items() if not name.startswith("_")}
