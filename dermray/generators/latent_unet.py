"""Text-conditional diffusion of a U-Net in an autoencoder's latents: what Stable Diffusion and LDM have in common."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal, Self

import diffusers
import torch
from diffusers.utils.torch_utils import randn_tensor
from pydantic import Field
from torch import Tensor

from dermray.config import Config
from dermray.generators import ddpm, frozen
from dermray.generators.base import Batch, Generator, Request, Sample, without_caption
from dermray.generators.canvas import Canvas, guided, put
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
        for name, value in self.read([""])[0].items():
            self.register_buffer("nothing" if name == "text" else f"no_{name}", value, persistent=False)

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
        """Latent moments, and what `read` makes of captions."""
        moments = frozen.latent_moments(self.vae, images)
        return [{"moments": m} | text for m, text in zip(moments, self.read(captions), strict=True)]

    def forward(self, batch: Batch) -> Tensor:
        """Weighted squared error, averaged over the batch."""
        return self.losses(batch).mean()

    def losses(self, batch: Batch) -> Tensor:
        """(B,) loss of each image at one random timestep."""
        latents = frozen.draw_latents(self.vae, batch["moments"])
        noise, t = torch.randn_like(latents), ddpm.draw_timesteps(len(latents), self.noise_schedule, latents)
        conditions = [part.to(self.unet.dtype) for part in self.conditions(batch)]
        noisy = self.noise_schedule.add_noise(latents, noise, t)
        predicted = self.predict(noisy.to(self.unet.dtype), t, *conditions)
        losses = ddpm.loss(predicted, latents, noise, t, self.noise_schedule, self.config.min_snr_gamma)
        self.seen = t / self.noise_schedule.config.num_train_timesteps, losses.detach()
        return losses

    def conditions(self, batch: Batch) -> tuple[Tensor, ...]:
        """What `predict` is told in training: CLIP's states (B, 77, D), captions left out."""
        text = without_caption(batch["text"], self.nothing, self.config.caption_dropout)
        return (self.clip(text)[0] if self.trains_text(self.config) else text,)

    def conditions_of(self, prompt: str, side: int, negative: bool = False) -> tuple[Tensor, ...]:
        """What it is told in sampling, of one image: CLIP's states (1, 77, D), in the U-Net's precision.

        Args:
            side: px. negative: whether guidance leads away from the prompt.
        """
        text = self._text([prompt])
        return ((self.clip(text)[0] if self.trains_text(self.config) else text).to(self.unet.dtype),)

    def predict(self, z: Tensor, t: Tensor, text: Tensor, *told: Tensor) -> Tensor:
        """The U-Net's answer to noisy latents; told: of guidance, where it was distilled with it."""
        guidance = told[0] if told else None
        predicted: Tensor = self.unet(z, t, encoder_hidden_states=text, timestep_cond=guidance, return_dict=False)[0]
        return predicted

    def begin(self, request: Request, guidance_scale: float, steps: int) -> Canvas:
        """As diffusers' pipeline begins, with a scheduler of its own; no guidance at scales up to 1.

        The pipeline would draw noise and step in the text encoder's precision, which is not that of a U-Net in
        training: here all is in the U-Net's, and what it leaves is decoded in the autoencoder's.

        Raises:
            ValueError: a size that the autoencoder's cells do not divide.
        """
        scheduler, side = copy.deepcopy(self.pipeline.scheduler), request.size or self.image_size
        if side % self.pipeline.vae_scale_factor:
            raise ValueError(f"size={side}: this model draws multiples of {self.pipeline.vae_scale_factor} px")
        scheduler.set_timesteps(steps)
        noise = torch.Generator().manual_seed(request.seed)
        latent = side // self.pipeline.vae_scale_factor
        shape, text = (1, self.unet.config.in_channels, latent, latent), self.conditions_of(request.prompt, side)
        z = randn_tensor(shape, noise, text[0].device, text[0].dtype) * scheduler.init_noise_sigma
        told = self._told(guidance_scale, text[0])
        scale = guidance_scale if guidance_scale > 1 and not told else 1
        no_text = self.conditions_of(request.negative_prompt, side, negative=True) if scale != 1 else text
        return Canvas(
            z=z, text=(*text, *told), no_text=(*no_text, *told), scale=scale, noise=noise, walk=scheduler,
            steps=len(scheduler.timesteps), side=side,
        )  # fmt: skip

    def _told(self, guidance_scale: float, text: Tensor) -> tuple[Tensor, ...]:
        """What a U-Net that was distilled with guidance is told of it, (1, D); nothing for any other."""
        width = self.unet.config.time_cond_proj_dim
        if width is None:
            return ()
        scale = torch.tensor([guidance_scale - 1])
        return (self.pipeline.get_guidance_scale_embedding(scale, embedding_dim=width).to(text.device, text.dtype),)

    def advance(self, canvases: list[Canvas]) -> None:
        """A step of each one's scheduler."""
        times = [canvas.walk.timesteps[canvas.step] for canvas in canvases]
        shown = [c.walk.scale_model_input(c.z, t) for c, t in zip(canvases, times, strict=True)]
        z = torch.cat(shown)
        out = guided(self.predict, self.rows, canvases, (z, torch.stack(times).to(z.device)))
        stepped = []
        for canvas, t, own in zip(canvases, times, out.split(1), strict=True):
            extra = self.pipeline.prepare_extra_step_kwargs(canvas.noise, 0.0)  # what this kind of scheduler takes
            stepped.append(canvas.walk.step(own, t, canvas.z, **extra, return_dict=False)[0])
        put(canvases, torch.cat(stepped))

    def finish(self, canvases: list[Canvas]) -> Tensor:
        """Decoded."""
        return frozen.decode(self.vae, torch.cat([canvas.z for canvas in canvases]), self.rows is not None)

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

    def read(self, captions: list[str]) -> list[Sample]:
        """What of captions can be made ahead: CLIP's embeddings (77, D), padded as Stable Diffusion was trained; token
        ids (77,) where CLIP learns."""
        return [{"text": text} for text in self._text(captions)]

    @torch.no_grad()
    def _text(self, captions: list[str]) -> Tensor:
        """See `read`."""
        tokenizer = self.pipeline.tokenizer
        found = tokenizer(
            captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        ids: Tensor = found.input_ids.to(next(self.unet.parameters()).device)
        return ids if self.trains_text(self.config) else self.clip(ids)[0]
