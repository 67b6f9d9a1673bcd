"""FLUX.2 [klein] (Black Forest Labs 2026) with LoRA: 4 billion parameters, Apache 2.0.

Latents are patches of 2 x 2 that a batch norm's statistics bring to one scale. Places have four axes: time, row,
column, and position in the text. klein-4B is distilled to four steps without guidance; klein-base-4B, which is made to
be trained, is led away from no text.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import diffusers
import torch
import transformers
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from pydantic import Field
from torch import Tensor

from dermray.generators import adapters, flow_text, frozen, kohya, qwen3
from dermray.generators.base import Batch, Sample
from dermray.generators.flow_family import FlowLoraConfig

SINGLE = r"single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)"  # attention and feed-forward are one layer
IMAGE = r"transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0)"
TEXT = r"transformer_blocks\.\d+\.attn\.(add_[qkv]_proj|to_add_out)"
TARGETS = {  # of klein-4B in brackets: parameters at rank 64
    "image_attention": f"{SINGLE}|{IMAGE}",  # (66,846,720), those of diffusers' training script
    "attention": f"{SINGLE}|{IMAGE}|{TEXT}",  # (74,711,040)
    # (96,337,920)
    "attention_and_feed_forward": rf"{SINGLE}|{IMAGE}|{TEXT}|transformer_blocks\.\d+\.ff(_context)?\.linear_(in|out)",
}
ENCODER_LAYERS = 28  # of the nano base: the pipeline reads after the 9th, 18th and 27th


class Flux2KleinLoraConfig(FlowLoraConfig):
    """What klein adds."""

    base: str = Field("nano", description="nano, or a FLUX.2 [klein] pipeline: directory, s3:// URI or hub id")
    targets: str = Field("attention", pattern=f"^({'|'.join(TARGETS)})$")
    caption_dropout: float = Field(0.1, ge=0, lt=1, description="captions left out, for guidance")
    max_sequence_length: int = Field(128, ge=8, le=512, description="tokens; FLUX.2 attends to the padding too")


class Flux2KleinLora(qwen3.ReadByQwen3):
    """Adapters on klein's transformer."""

    name = "flux2_klein_lora"
    Config = Flux2KleinLoraConfig
    Pipeline = diffusers.Flux2KleinPipeline
    MODELS = {
        "transformer": diffusers.Flux2Transformer2DModel, "vae": diffusers.AutoencoderKLFlux2,
        "text_encoder": transformers.Qwen3ForCausalLM,
    }  # fmt: skip
    ENCODERS = {"text_encoder": "qwen3"}
    TARGETS = TARGETS
    DROPOUT = {"caption_dropout": ("tokens",)}
    thinking = False
    drawn = False

    @classmethod
    def nano(cls, config: Flux2KleinLoraConfig, captions: list[str]) -> diffusers.Flux2KleinPipeline:
        """Two double and two single blocks; an encoder as deep as its layers are read."""
        torch.manual_seed(0)
        words = qwen3.tokenizer(captions, config.max_sequence_length)
        encoder = qwen3.small(len(words), ENCODER_LAYERS)
        transformer = diffusers.Flux2Transformer2DModel(
            in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=3 * encoder.hidden_size, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
        )  # fmt: skip
        blocks = 4
        vae = diffusers.AutoencoderKLFlux2(
            block_out_channels=(8,) * blocks, latent_channels=4, norm_num_groups=4, layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * blocks, up_block_types=("UpDecoderBlock2D",) * blocks,
        )  # fmt: skip
        vae.bn.running_mean.normal_(0, 0.1)  # published ones are far from a fresh batch norm's
        vae.bn.running_var.uniform_(0.5, 2)
        return diffusers.Flux2KleinPipeline(
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0), vae=vae,
            text_encoder=transformers.Qwen3ForCausalLM(encoder), tokenizer=words, transformer=transformer,
        )  # fmt: skip

    @classmethod
    def switches(cls, config: Flux2KleinLoraConfig) -> dict[str, Any]:
        """Whether the base is distilled."""
        from dermray import weights

        place = weights.locate_small(config.base, "model.base")
        index = diffusers.DiffusionPipeline.load_config(place, revision=config.revision)
        return {"is_distilled": index.get("is_distilled", False)}

    def encoded(self, images: Tensor) -> Tensor:
        """The mode, as in training and for images that are edited."""
        return frozen.latent_modes(self.vae, images)

    def normalise(self, latents: Tensor) -> Tensor:
        """Patches (B, 4C, h / 2, w / 2) by the statistics of the autoencoder's batch norm."""
        mean, std = self._statistics(latents)
        normal: Tensor = (self.pipeline._patchify_latents(latents) - mean) / std
        return normal

    def denormalise(self, latents: Tensor) -> Tensor:
        """Back to (B, C, h, w)."""
        mean, std = self._statistics(latents)
        made: Tensor = self.pipeline._unpatchify_latents(latents * std + mean)
        return made

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        norm = self.vae.bn
        variance = norm.running_var.view(1, -1, 1, 1) + self.vae.config.batch_norm_eps
        return norm.running_mean.view(1, -1, 1, 1).to(latents.dtype), variance.sqrt().to(latents.dtype)

    def latent_shape(self, side: int) -> tuple[int, ...]:
        """Patches are channels."""
        channels, h, w = super().latent_shape(side)
        return 4 * channels, h // 2, w // 2

    def read(self, texts: list[str]) -> list[Sample]:
        """Three layers' states beside each other, (T, 3D), padding among them."""
        tokens, _ = self.pipeline.encode_prompt(
            list(texts), device=flow_text.device_of(self.pipeline.text_encoder),
            max_sequence_length=self.config.max_sequence_length,
        )  # fmt: skip
        return [{"tokens": row} for row in tokens]

    def velocity(self, latents: Tensor, sigma: Tensor, text: Batch, guidance: Tensor) -> Tensor:
        """By tokens of one patch each. text: tokens (B, T, D)."""
        tokens, embedded = text["tokens"].to(self.dtype), self.pipeline.transformer.config.guidance_embeds
        out = self.transformer(
            hidden_states=self.pipeline._pack_latents(latents.to(self.dtype)),
            timestep=sigma.to(self.dtype),
            guidance=guidance if embedded else None,
            encoder_hidden_states=tokens,
            txt_ids=self.pipeline._prepare_text_ids(tokens).to(latents.device),
            img_ids=self.pipeline._prepare_latent_ids(latents).to(latents.device),
            return_dict=False,
        )[0]
        unpacked: Tensor = out.transpose(1, 2).reshape(latents.shape)
        return unpacked

    def shift_mu(self, tokens: int, steps: int = 50) -> float:
        """By size and number of steps; training's levels are those of 50."""
        return compute_empirical_mu(tokens, steps)

    def led(self, guidance_scale: float) -> float:
        """Not where it is distilled."""
        return 1.0 if self.pipeline.config.is_distilled else super().led(guidance_scale)

    @classmethod
    def place(cls, adapted: Collection[str], rank: int | None) -> adapters.Place:
        """diffusers' names and those of FLUX.2's original layers."""
        return kohya.flux_place(adapted, rank, kohya.FLUX_2)

    def to_kohya(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """By the original layers, of which one holds queries, keys and values."""
        return kohya.flux_to_kohya(weights, self.config.alpha, kohya.FLUX_2)
