"""Full fine-tuning of Stable Diffusion 1.x or 2.x, as DermDiff's: the whole U-Net is trained, from the base's weights.

The U-Net's weights are in full precision, whatever the frozen parts beside it have. For the 860 million of Stable
Diffusion 1 a worker holds 17 GB beside activations: weights, gradients, AdamW's two moments and the averages, 3.4 GB
each. A checkpoint has all but the gradients, 13.8 GB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import diffusers

from dermray.generators import frozen, stable_diffusion_base
from dermray.generators.coverage import Reader
from dermray.generators.latent_unet import LatentUNet
from dermray.generators.stable_diffusion_base import StableDiffusionBaseConfig


class StableDiffusion(LatentUNet):
    """A U-Net that goes on learning between a frozen autoencoder and a frozen text encoder."""

    Pipeline = diffusers.StableDiffusionPipeline
    Config = StableDiffusionBaseConfig
    config: StableDiffusionBaseConfig

    def __init__(self, config: StableDiffusionBaseConfig, pipeline: diffusers.StableDiffusionPipeline) -> None:
        super().__init__(config, pipeline)
        self.unet.requires_grad_(True)

    @classmethod
    def from_captions(cls, config: StableDiffusionBaseConfig, captions: list[str]) -> Self:
        """The base; `captions` make the words of the nano one."""
        return cls(config, stable_diffusion_base.load(config, captions, unet="fp32")).train()

    @classmethod
    def check_start(cls, config: StableDiffusionBaseConfig) -> None:
        """Whether the base is one."""
        stable_diffusion_base.check(config)

    @classmethod
    def readers(cls, config: StableDiffusionBaseConfig, captions: list[str], saved: Path | None = None) -> list[Reader]:  # type: ignore[override]  # its own config
        """CLIP's; a checkpoint is a whole pipeline."""
        return stable_diffusion_base.readers(config, captions, str(saved) if saved else None)

    def save(self, directory: Path) -> None:
        """A pipeline folder of diffusers', autoencoder and text encoder included."""
        self.save_pipeline(directory)
        frozen.write_about(directory, family="stable_diffusion", config=self.config.model_dump())

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote."""
        config = StableDiffusionBaseConfig(**frozen.read_about(directory, "stable_diffusion")["config"])
        saved = config.model_copy(update={"revision": None})  # of the base, which is not read again
        return cls(config, stable_diffusion_base.load(saved, [], str(directory), unet="fp32"))
