"""Z-Image (Tongyi-MAI 2025) with LoRA: 6 billion parameters, Apache 2.0.

Text and image are one sequence, a list of them instead of a padded batch. Time runs the other way, 1 - sigma, and the
prediction is latents - noise. Z-Image is made to be trained and led away from a text; Z-Image-Turbo is distilled to
eight steps and drawn at guidance_scale=0.
"""

from __future__ import annotations

import diffusers
import torch
import transformers
from pydantic import Field
from torch import Tensor

from dermray.generators import flow_text, frozen, kohya, nano, qwen3
from dermray.generators.base import Batch, Sample
from dermray.generators.flow_family import FlowLoraConfig

BLOCK = r"(layers|noise_refiner|context_refiner)\.\d+\."
TARGETS = {  # in brackets the parameters at rank 64
    "attention": BLOCK + r"attention\.(to_[qkv]|to_out\.0)",  # (66,846,720), those of diffusers' training script
    # (158,760,960)
    "attention_and_feed_forward": BLOCK + r"(attention\.(to_[qkv]|to_out\.0)|feed_forward\.w[123])",
}


class ZImageLoraConfig(FlowLoraConfig):
    """What Z-Image adds."""

    base: str = Field("nano", description="nano, or a Z-Image pipeline: directory, s3:// URI or hub id")
    targets: str = Field("attention", pattern=f"^({'|'.join(TARGETS)})$")
    caption_dropout: float = Field(0.1, ge=0, lt=1, description="captions left out, for guidance")
    max_sequence_length: int = Field(512, ge=8, le=1024, description="tokens, at most")


class ZImageLora(qwen3.ReadByQwen3):
    """Adapters on Z-Image's transformer."""

    name = "z_image_lora"
    Config = ZImageLoraConfig
    Pipeline = diffusers.ZImagePipeline
    MODELS = {
        "transformer": diffusers.ZImageTransformer2DModel, "vae": diffusers.AutoencoderKL,
        "text_encoder": transformers.Qwen3Model,
    }  # fmt: skip
    ENCODERS = {"text_encoder": "qwen3"}
    TARGETS = TARGETS
    DROPOUT = {"caption_dropout": ("tokens",)}
    ragged = ("tokens",)
    row_by_row = True
    negative_prompts = True
    noise_dtype = torch.float32
    thinking = True
    drawn = False

    @classmethod
    def nano(cls, config: ZImageLoraConfig, captions: list[str]) -> diffusers.ZImagePipeline:
        """Two layers and a refiner each for text and image."""
        torch.manual_seed(0)
        words = qwen3.tokenizer(captions, config.max_sequence_length)
        encoder = qwen3.small(len(words), 2)
        transformer = diffusers.ZImageTransformer2DModel(
            in_channels=4, dim=nano.WIDTH, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
            cap_feat_dim=encoder.hidden_size, axes_dims=[4, 6, 6], axes_lens=[1536, 64, 64],
        )  # fmt: skip
        for pad in (transformer.x_pad_token, transformer.cap_pad_token):
            torch.nn.init.normal_(pad, std=0.02)  # as published ones, not zeros
        return diffusers.ZImagePipeline(
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=nano.vae(shift_factor=0.1159, scaling_factor=0.3611),
            text_encoder=transformers.Qwen3Model(encoder), tokenizer=words, transformer=transformer,
        )  # fmt: skip

    def encoded(self, images: Tensor) -> Tensor:
        """The mode, as in diffusers' training script."""
        return frozen.latent_modes(self.vae, images)

    def read(self, texts: list[str]) -> list[Sample]:
        """The last layer but one, (T, D), without padding."""
        read = self.pipeline.tokenizer
        chats = [self.as_chat(read, text) for text in texts]
        inputs = read(
            chats, padding=True, truncation=True, max_length=self.config.max_sequence_length, return_tensors="pt"
        )
        device = flow_text.device_of(self.pipeline.text_encoder)
        states = self.pipeline.text_encoder(
            input_ids=inputs.input_ids.to(device), attention_mask=inputs.attention_mask.to(device).bool(),
            output_hidden_states=True,
        ).hidden_states[-2]  # fmt: skip
        lengths = inputs.attention_mask.sum(1).tolist()
        return [{"tokens": row[:length]} for row, length in zip(states, lengths, strict=True)]

    def velocity(self, latents: Tensor, sigma: Tensor, text: Batch, guidance: Tensor) -> Tensor:
        """Row by row in a list. text: tokens (B, T, D) and their mask (B, T)."""
        tokens = flow_text.unpadded(text["tokens"].to(self.dtype), text["tokens_mask"])
        images = list(latents.to(self.dtype).unsqueeze(2).unbind(0))
        out = self.transformer(images, 1 - sigma, tokens, return_dict=False)[0]
        return -torch.stack(out).squeeze(2).float()

    def sigmas(self, timesteps: Tensor) -> Tensor:
        """In full precision."""
        return timesteps / 1000

    def led(self, guidance_scale: float) -> float:
        """Its pipeline adds so many times the difference to what is drawn with text; 0 is none."""
        return 1 + max(guidance_scale, 0.0)

    def to_kohya(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """ComfyUI knows diffusers' names of these layers."""
        return kohya.modules_to_comfy(weights, self.config.alpha)
