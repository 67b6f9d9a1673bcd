"""DermaFlux (paper 002): FLUX.1-dev with LoRA on its attention, by flow matching in latents.

Time runs as in diffusers: sigma = 1 is noise, the model is told sigma (its 1000 timesteps / 1000), and its target is
noise - latents. The guidance that FLUX.1-dev was distilled with is an input: 1 in training, what is asked for in
sampling (3.5 in the paper).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import diffusers
import torch
import transformers
from pydantic import Field
from torch import Tensor

from dermray.generators import adapters, flow_text, kohya, nano
from dermray.generators.base import Batch, Sample
from dermray.generators.flow_family import FlowLoraConfig
from dermray.generators.flow_lora import FlowLora

# Regular expressions of whole module names; in brackets the parameters at rank 64 on FLUX.1-dev.
BLOCK = r"(single_)?transformer_blocks\.\d+\."
ATTENTION = r"attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
TARGETS = {
    "image_attention": BLOCK + r"attn\.(to_[qkv]|to_out\.0)",  # (74,711,040)
    "attention": BLOCK + ATTENTION,  # (104,595,456)
    "attention_and_output": rf"{BLOCK}{ATTENTION}|single_transformer_blocks\.\d+\.proj_out",  # (149,422,080)
    "attention_and_feed_forward": rf"{BLOCK}({ATTENTION}|ff(_context)?\.net\.(0\.proj|2))",  # (179,306,496)
    "all_linear": r".*(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out|proj_out|proj_mlp|net\.0\.proj|net\.2|linear"
    r"|linear_[12]|context_embedder|x_embedder)",  # (346,972,160)
}


class FluxLoraConfig(FlowLoraConfig):
    """What FLUX.1 adds: its own guidance, and two text encoders."""

    base: str = Field("nano", description="nano, or a FLUX.1 pipeline: directory, s3:// URI or hub id")
    targets: str = Field("attention", pattern=f"^({'|'.join(TARGETS)})$")
    guidance: float = Field(1.0, ge=0, description="told to the model in training")
    clip_dropout: float = Field(0.1, ge=0, lt=1, description="captions left out of CLIP's pooled embedding")
    t5_dropout: float = Field(0.1, ge=0, lt=1, description="captions left out of T5's tokens, drawn by itself")
    max_sequence_length: int = Field(128, ge=8, le=512, description="T5 tokens; FLUX attends to the padding too")


class FluxLora(FlowLora):
    """Adapters on FLUX.1's transformer."""

    name = "flux_lora"
    clip: Any  # None where texts were encoded ahead
    t5: Any
    Config = FluxLoraConfig
    Pipeline = diffusers.FluxPipeline
    MODELS = {
        "transformer": diffusers.FluxTransformer2DModel, "vae": diffusers.AutoencoderKL,
        "text_encoder": transformers.CLIPTextModel, "text_encoder_2": transformers.T5EncoderModel,
    }  # fmt: skip
    ENCODERS = {"text_encoder": "clip", "text_encoder_2": "t5"}
    TARGETS = TARGETS
    TEXT = ("pooled", "tokens")
    lycoris = True
    DROPOUT = {"clip_dropout": ("pooled",), "t5_dropout": ("tokens",)}

    @classmethod
    def nano(cls, config: FluxLoraConfig, captions: list[str]) -> diffusers.FluxPipeline:
        """FLUX of two double and two single blocks."""
        return nano.flux(captions, config.max_sequence_length)

    @classmethod
    def reads(cls, config: FluxLoraConfig) -> dict[str, tuple[str, int]]:
        """CLIP's, of whose text FLUX has one pooled vector, and T5's, whose every token it attends to."""
        return {"tokenizer": ("clip", 77), "tokenizer_2": ("t5", config.max_sequence_length)}

    def read(self, texts: list[str]) -> list[Sample]:
        """CLIP's pooled embedding (D,) and T5's tokens (T, D), padded as diffusers pads them."""
        device = flow_text.device_of(
            self.pipeline.text_encoder_2
        )  # not yet the transformer's where that was loaded to a GPU in few bits
        tokens, pooled, _ = self.pipeline.encode_prompt(
            texts, texts, device=device, max_sequence_length=self.config.max_sequence_length
        )
        return [{"pooled": p, "tokens": t} for p, t in zip(pooled, tokens, strict=True)]

    def velocity(self, latents: Tensor, sigma: Tensor, text: Batch, guidance: Tensor) -> Tensor:
        """By tokens of 2 x 2 latents. text: pooled (B, D), tokens (B, T, D)."""
        b, c, h, w = latents.shape
        tokens = text["tokens"].to(self.dtype)
        out = self.transformer(
            hidden_states=self.pipeline._pack_latents(latents.to(self.dtype), b, c, h, w),
            timestep=sigma.to(self.dtype),
            guidance=guidance if self.pipeline.transformer.config.guidance_embeds else None,
            pooled_projections=text["pooled"].to(self.dtype),
            encoder_hidden_states=tokens,
            txt_ids=torch.zeros(tokens.shape[1], 3, device=latents.device, dtype=self.dtype),
            img_ids=self.pipeline._prepare_latent_image_ids(b, h // 2, w // 2, latents.device, self.dtype),
            return_dict=False,
        )[0]
        side = self.pipeline.vae_scale_factor
        unpacked: Tensor = self.pipeline._unpack_latents(out, h * side, w * side, side)
        return unpacked

    def training_mu(self, tokens: int) -> float:
        """The sampler's, at FLUX.1-schnell too: 0.4675 at 64 tokens (128 px), 0.63 at 1024 (512 px)."""
        return self.shift_mu(tokens)

    def training_guidance(self) -> float:
        """An input that FLUX.1-dev was distilled with."""
        return float(self.config.guidance)

    def led(self, guidance_scale: float) -> float:
        """Never: what is asked for is an input."""
        return 1.0

    @classmethod
    def place(cls, adapted: Collection[str], rank: int | None) -> adapters.Place:
        """diffusers' names and those of FLUX's original layers, of which one holds several."""
        return kohya.flux_place(adapted, rank)

    def to_kohya(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """As kohya's scripts and ComfyUI read it."""
        return kohya.flux_to_kohya(weights, self.config.alpha)
