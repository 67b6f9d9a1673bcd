"""GLIDE (paper 000): text-conditional diffusion of pixels at a quarter of the side, and a fourfold upsampler.

What public fine-tuning code leaves out is here: learned variances get their variational loss, the last timestep is
drawn, and captions are dropped for guidance. The upsampler learns from real images and their own reductions, and both
are sampled in cascade. U-Nets and text encoder have the form of diffusers' IF pipelines, whose exported folders draw
the same without dermray; their context is 77 tokens, GLIDE's was 128.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

import diffusers
import torch
import transformers
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from dermray.config import Config, ConfigError
from dermray.generators import ddpm, frozen, nano
from dermray.generators.base import Batch, Generator, Request, Sample, without_caption
from dermray.generators.coverage import Reader, TokenReader

CONTEXT = 77  # tokens; IFPipeline pads to it


class UNetSizes(Config):
    """A U-Net with text beside its pixels' own attention."""

    channels: int = Field(16, ge=8, multiple_of=8)
    multipliers: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 2), min_length=2, description="of channels, from the finest level down"
    )
    residual_blocks: int = Field(1, ge=1, description="per level")
    attention: tuple[bool, ...] = Field((False, True), description="per level")
    head_width: int = Field(8, ge=8)

    @model_validator(mode="after")
    def _one_of_each_per_level(self) -> Self:
        if len(self.attention) != len(self.multipliers):
            raise ConfigError(
                f"attention={list(self.attention)}: expected one for each of {len(self.multipliers)} multipliers"
            )
        return self


class GlideConfig(Config):
    """Sizes; the defaults are the nano preset's, train/glide_paper.yaml has GLIDE's."""

    image_size: int = Field(64, ge=32, multiple_of=32, description="px, of the upsampler; the base draws a quarter")
    base: UNetSizes = UNetSizes()
    upsampler: UNetSizes = UNetSizes()
    text_width: int = Field(32, ge=16, multiple_of=16)
    text_layers: int = Field(1, ge=1)
    text_heads: int = Field(2, ge=1)
    caption_dropout: float = Field(0.2, ge=0, lt=1)
    upsampler_steps: int = Field(27, ge=1, description="sampling steps of the upsampler")
    upsampler_guidance: float = Field(1.0, ge=0)

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.text_width % self.text_heads:
            raise ConfigError(f"text_width={self.text_width}: expected a multiple of text_heads={self.text_heads}")
        return self


class Glide(Generator):
    """Base and upsampler, each with a text encoder of its own, trained side by side."""

    Config = GlideConfig

    def __init__(
        self, config: GlideConfig, base: diffusers.IFPipeline, upsampler: diffusers.IFSuperResolutionPipeline
    ) -> None:
        super().__init__()
        self.config, self.image_size = config, config.image_size
        self.pipelines = (base, upsampler)
        self.unet, self.text = base.unet, base.text_encoder
        self.upsampler_unet, self.upsampler_text = upsampler.unet, upsampler.text_encoder
        for pipeline in self.pipelines:
            pipeline.set_progress_bar_config(disable=True)
        self.register_buffer("nothing", self._ids([""])[0], persistent=False)
        self.nothing: Tensor

    @classmethod
    def from_captions(cls, config: GlideConfig, captions: list[str]) -> Self:
        """New models; the words of their text encoders are those of `captions`."""
        words = nano.tokenizer(captions, CONTEXT)
        off: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "watermarker": None}
        base = diffusers.IFPipeline(
            tokenizer=words, text_encoder=_text_encoder(config, len(words)),
            unet=_unet(config.base, config, config.image_size // 4, 3),
            scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range"),
            requires_safety_checker=False, **off,
        )  # fmt: skip
        upsampler = diffusers.IFSuperResolutionPipeline(
            tokenizer=words, text_encoder=_text_encoder(config, len(words)),
            unet=_unet(config.upsampler, config, config.image_size, 6),
            scheduler=diffusers.DDPMScheduler(beta_schedule="linear", variance_type="learned_range"),
            # the reduced image is shown as it is
            image_noising_scheduler=diffusers.DDPMScheduler(1, trained_betas=[0.0]),
            requires_safety_checker=False, **off,
        )  # fmt: skip
        return cls(config, base, upsampler)

    @classmethod
    def readers(cls, config: GlideConfig, captions: list[str], saved: Path | None = None) -> list[Reader]:
        """Base and upsampler share a tokenizer."""
        base = str(saved / "base") if saved else frozen.NANO
        return [TokenReader("words", frozen.tokenizer(base, None, "tokenizer", captions, CONTEXT), CONTEXT)]

    def encode(self, images: Tensor, captions: list[str]) -> list[Sample]:
        """Pixels in [-1, 1] at full size, and token ids (77,)."""
        pixels = images.float() / 127.5 - 1
        return [{"image": image, "tokens": ids} for image, ids in zip(pixels, self._ids(captions), strict=True)]

    def forward(self, batch: Batch) -> Tensor:
        """The base's loss on reduced images plus the upsampler's on the images themselves."""
        images = batch["image"]
        tokens = without_caption(batch["tokens"], self.nothing, self.config.caption_dropout)
        low = reduce(images)
        base, upsampler = self.pipelines
        upsampling = self._loss(upsampler, images, enlarge(low), tokens)
        return self._loss(base, low, None, tokens) + upsampling  # the base's last: its losses are those that are seen

    def _loss(self, pipeline: Any, images: Tensor, beside: Tensor | None, tokens: Tensor) -> Tensor:
        """L_simple + L_vlb (Nichol and Dhariwal 2021, equation 16; one of 1000 steps is drawn, so 0.001 x 1000 = 1)."""
        noise, t = torch.randn_like(images), ddpm.draw_timesteps(len(images), pipeline.scheduler, images)
        noisy = pipeline.scheduler.add_noise(images, noise, t)
        text = pipeline.text_encoder(tokens, attention_mask=(tokens != 0).long())[0]
        shown = noisy if beside is None else torch.cat([noisy, beside], 1)
        predicted, variance = pipeline.unet(shown, t, text, return_dict=False)[0].chunk(2, 1)
        simple = ddpm.loss(predicted, images, noise, t, pipeline.scheduler, None)
        bound = ddpm.variational_bound(predicted, variance, images, noisy, t, pipeline.scheduler)
        losses = simple + bound
        self.seen = t / pipeline.scheduler.config.num_train_timesteps, losses.detach()
        return losses.mean()

    @torch.no_grad()
    def sample(self, requests: list[Request], guidance_scale: float, steps: int) -> Tensor:
        """diffusers' two pipelines in cascade, each request with its own generator."""
        base, upsampler = self.pipelines
        prompts, generators = [request.prompt for request in requests], frozen.generators(requests)
        with frozen.evaluating(self):
            low = base(
                prompts, guidance_scale=guidance_scale, num_inference_steps=steps, generator=generators,
                clean_caption=False, output_type="pt",
            ).images  # fmt: skip
            images = upsampler(
                prompts, image=low, noise_level=0, guidance_scale=self.config.upsampler_guidance,
                num_inference_steps=self.config.upsampler_steps, generator=generators, clean_caption=False,
                output_type="pt",
            ).images  # fmt: skip
        return frozen.to_pixels((images / 2 + 0.5).clamp(0, 1))

    def save(self, directory: Path) -> None:
        """Two pipeline folders of diffusers', `base` and `upsampler`."""
        frozen.write_about(directory, family="glide", config=self.config.model_dump())
        for name, pipeline in zip(("base", "upsampler"), self.pipelines, strict=True):
            pipeline.save_pretrained(directory / name)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote."""
        config = GlideConfig.model_validate(frozen.read_about(directory, "glide")["config"], strict=False)
        base, upsampler = (frozen.load_pipeline(str(directory / name), None, "fp32") for name in ("base", "upsampler"))
        return cls(config, base, upsampler)

    def _ids(self, captions: list[str]) -> Tensor:
        found = self.pipelines[0].tokenizer(
            captions, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt"
        )
        ids: Tensor = found.input_ids.to(next(self.unet.parameters()).device)
        return ids


def reduce(images: Tensor) -> Tensor:
    """(B, 3, 4h, 4w) to (B, 3, h, w): means of 4 x 4 pixels."""
    return F.avg_pool2d(images, 4)


def enlarge(images: Tensor) -> Tensor:
    """(B, 3, h, w) to (B, 3, 4h, 4w), as diffusers' pipeline shows them to the upsampler."""
    return F.interpolate(images, scale_factor=4, mode="bilinear", align_corners=True)


def _text_encoder(config: GlideConfig, words: int) -> transformers.T5EncoderModel:
    width = config.text_width
    sizes = transformers.T5Config(
        vocab_size=words, d_model=width, d_kv=width // config.text_heads, d_ff=4 * width, num_heads=config.text_heads,
        num_layers=config.text_layers, dropout_rate=0.0,
    )  # fmt: skip
    return transformers.T5EncoderModel(sizes)


def _unet(sizes: UNetSizes, config: GlideConfig, side: int, channels: int) -> diffusers.UNet2DConditionModel:
    """Residual blocks that resample, text as further keys of self-attention and added to the timestep."""
    down = ["SimpleCrossAttnDownBlock2D" if seen else "ResnetDownsampleBlock2D" for seen in sizes.attention]
    up = ["SimpleCrossAttnUpBlock2D" if seen else "ResnetUpsampleBlock2D" for seen in reversed(sizes.attention)]
    width = sizes.channels * sizes.multipliers[-1]
    return diffusers.UNet2DConditionModel(
        sample_size=side, in_channels=channels, out_channels=6, layers_per_block=sizes.residual_blocks,
        block_out_channels=tuple(sizes.channels * m for m in sizes.multipliers),
        down_block_types=tuple(down), up_block_types=tuple(up), mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        attention_head_dim=sizes.head_width, norm_num_groups=8, resnet_time_scale_shift="scale_shift", act_fn="gelu",
        cross_attention_dim=width, encoder_hid_dim=config.text_width, encoder_hid_dim_type="text_proj",
        addition_embed_type="text", addition_embed_type_num_heads=config.text_heads,
    )  # fmt: skip
