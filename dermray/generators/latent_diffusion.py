"""LDM (Rombach et al. 2022), DermDiT's baseline: a U-Net trained from scratch in Stable Diffusion's latents.

Conditional on CLIP's text; with caption_dropout 1 it is the unconditional one.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Self

import diffusers
from pydantic import Field, field_validator

from dermray.generators import frozen, nano
from dermray.generators.coverage import Reader
from dermray.generators.latent_unet import LatentUNet, LatentUNetConfig


class LatentDiffusionConfig(LatentUNetConfig):
    """The U-Net to train; autoencoder and text encoder are those of `base`."""

    unet: dict[str, Any] | None = Field(
        None, description="arguments of diffusers' UNet2DConditionModel; default: the base's geometry, weights anew"
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
        build = lambda: nano.stable_diffusion(captions, config.prediction_type or "epsilon")  # noqa: E731
        pipeline = frozen.load_pipeline(config.base, config.revision, config.dtype, build)
        geometry = dict(pipeline.unet.config) if config.unet is None else config.unet
        unet = diffusers.UNet2DConditionModel
        fresh = unet.from_config(geometry) if config.unet is None else unet(**geometry)
        pipeline.register_modules(unet=fresh.train())
        return cls(config, pipeline)

    @classmethod
    def readers(cls, config: LatentDiffusionConfig, captions: list[str], saved: Path | None = None) -> list[Reader]:  # type: ignore[override]  # its own config
        """CLIP's; a checkpoint is a whole pipeline."""
        if saved is not None:
            config = config.model_copy(update={"base": str(saved), "revision": None})
        return super().readers(config, captions)

    def save(self, directory: Path) -> None:
        """A pipeline folder of diffusers', autoencoder and text encoder included."""
        self.pipeline.save_pretrained(directory)
        frozen.write_about(directory, family="latent_diffusion", config=self.config.model_dump())

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote."""
        config = LatentDiffusionConfig(**frozen.read_about(directory, "latent_diffusion")["config"])
        return cls(config, frozen.load_pipeline(str(directory), None, config.dtype))
