"""Text-conditional diffusion of a U-Net in an autoencoder's latents: what Stable Diffusion and LDM have in common."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal, Self

import diffusers
import torch
from pydantic import Field
from torch import Tensor

from dermray.config import Config
from dermray.generators import ddpm, frozen
from dermray.generators.base import Batch, Generator, Request, Sample, without_caption
from dermray.generators.coverage import Reader


class LatentUNetConfig(Config):
    """Base model and loss."""

    base: str = Field("nano", description="nano, or a Stable Diffusion pipeline: directory, s3:// URI or hub id")
    revision: str | None = None
    dtype: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of frozen parts")
    image_size: int = Field(64, ge=16, multiple_of=16)  # px
    prediction_type: Literal["epsilon", "v_prediction"] | None = Field(None, description="default: as the base says")
    min_snr_gamma: float | None = Field(None, gt=0, description="min-SNR weighting of the loss, 5 in its paper")
    caption_dropout: float = Field(0.1, ge=0, le=1, description="1 for an unconditional model")


class LatentUNet(Generator):
    """A diffusers Stable Diffusion pipeline in training. Subclasses say what of it is trained."""

    any_size = True
    negative_prompts = True
    nothing: Tensor  # no caption, encoded

    def __init__(self, config: LatentUNetConfig, pipeline: diffusers.StableDiffusionPipeline) -> None:
        super().__init__()
        self.config, self.image_size, self.pipeline = config, config.image_size, pipeline
        self.unet, self.vae, self.clip = pipeline.unet, pipeline.vae, pipeline.text_encoder
        self.noise_schedule = diffusers.DDPMScheduler.from_config(
            pipeline.scheduler.config,
            **({"prediction_type": config.prediction_type} if config.prediction_type else {}),
        )
        # trailing: the first step is at t = 999, where training ended; diffusers' default begins 20 steps at 951
        pipeline.scheduler = type(pipeline.scheduler).from_config(
            pipeline.scheduler.config, prediction_type=self.noise_schedule.config.prediction_type,
            timestep_spacing="trailing",
        )  # fmt: skip
        self.register_buffer("nothing", self._text([""])[0], persistent=False)

    @classmethod
    def makes_words(cls, config: LatentUNetConfig) -> bool:
        """The nano base's tokenizer is made."""
        return config.base == frozen.NANO

    @classmethod
    def readers(cls, config: LatentUNetConfig, captions: list[str], saved: Path | None = None) -> list[Reader]:
        """CLIP's, or none where every caption is dropped."""
        if config.caption_dropout == 1:
            return []
        return [frozen.clip_reader(frozen.saved_base(config.base, saved), config.revision, captions)]

    @classmethod
    def encoded_by(cls, config: LatentUNetConfig) -> dict[str, Any] | None:
        """Latents and text by the frozen parts of the base."""
        return frozen.encoded_by(config) | {"text": "ids" if cls.trains_text(config) else "embeddings"}

    @classmethod
    def trains_text(cls, config: LatentUNetConfig) -> bool:
        """Whether the text encoder learns too, so that its embeddings cannot be kept."""
        return False

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        self.vae.eval()
        self.clip.train(mode and self.trains_text(self.config))
        return self

    @torch.no_grad()
    def encode(self, images: Tensor, captions: list[str]) -> list[Sample]:
        """Latent moments and text: CLIP's embeddings (77, D), padded as Stable Diffusion was trained; token ids (77,)
        where CLIP learns."""
        moments = frozen.latent_moments(self.vae, images)
        return [{"moments": m, "text": t} for m, t in zip(moments, self._text(captions), strict=True)]

    def forward(self, batch: Batch) -> Tensor:
        """Weighted squared error, averaged over the batch."""
        return self.losses(batch).mean()

    def losses(self, batch: Batch) -> Tensor:
        """(B,) loss of each image at one random timestep."""
        latents = frozen.draw_latents(self.vae, batch["moments"])
        noise, t = torch.randn_like(latents), ddpm.draw_timesteps(len(latents), self.noise_schedule, latents)
        text = without_caption(batch["text"], self.nothing, self.config.caption_dropout)
        if self.trains_text(self.config):
            text = self.clip(text)[0]
        noisy = self.noise_schedule.add_noise(latents, noise, t)
        predicted = self.unet(noisy.to(self.unet.dtype), t, text.to(self.unet.dtype), return_dict=False)[0]
        losses = ddpm.loss(predicted, latents, noise, t, self.noise_schedule, self.config.min_snr_gamma)
        self.seen = t / self.noise_schedule.config.num_train_timesteps, losses.detach()
        return losses

    @torch.no_grad()
    def sample(self, requests: list[Request], guidance_scale: float, steps: int) -> Tensor:
        """diffusers' own pipeline around the U-Net, each request with its own generator.

        The pipeline would draw noise and step in the text encoder's precision, which is not that of a U-Net in
        training: it is given embeddings in the U-Net's, and what it leaves is decoded in the autoencoder's.
        """
        with frozen.evaluating(self):
            latents = self._denoiser()(
                prompt_embeds=self._embedded([request.prompt for request in requests]),
                negative_prompt_embeds=self._embedded([request.negative_prompt for request in requests]),
                generator=frozen.generators(requests), height=self.side(requests), width=self.side(requests),
                guidance_scale=guidance_scale, num_inference_steps=steps, output_type="latent",
            ).images  # fmt: skip
            return frozen.decode(self.vae, latents)

    def save_pipeline(self, directory: Path) -> None:
        """A pipeline folder of diffusers', autoencoder and text encoder included.

        All in the U-Net's precision: a plain reader gives each part the one that it was saved in, and then a U-Net in
        full precision cannot take half a text.
        """
        frozen_parts = {"vae": self.vae, "text_encoder": self.clip}
        parts = {
            name: frozen.in_precision(copy.deepcopy(part).to("cpu"), self.unet.dtype)
            for name, part in frozen_parts.items()
        }
        whole = type(self.pipeline)(**self.pipeline.components | parts, requires_safety_checker=False)
        whole.save_pretrained(directory)

    def _denoiser(self) -> diffusers.StableDiffusionPipeline:
        """The pipeline without its text encoder."""
        parts = self.pipeline.components | {"text_encoder": None}
        made = type(self.pipeline)(**parts, requires_safety_checker=False)
        made.set_progress_bar_config(disable=True)
        return made

    def _embedded(self, prompts: list[str]) -> Tensor:
        """CLIP's states (B, 77, D), in the U-Net's precision."""
        text = self._text(prompts)
        return (self.clip(text)[0] if self.trains_text(self.config) else text).to(self.unet.dtype)

    @torch.no_grad()
    def _text(self, captions: list[str]) -> Tensor:
        """What of captions can be made ahead; see `encode`."""
        tokenizer = self.pipeline.tokenizer
        found = tokenizer(
            captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        ids: Tensor = found.input_ids.to(next(self.unet.parameters()).device)
        return ids if self.trains_text(self.config) else self.clip(ids)[0]
