"""Stable Diffusion XL with LoRA on its U-Net, and on its two text encoders if wanted.

Beside the states of both CLIPs the U-Net is told the second one's pooled vector and six numbers: height and width of
the original image, where it was cropped, and its height and width now. Images come here at their bucket's size, which
is told as the original one, uncropped: what the base draws best, and what is asked of it in sampling.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import diffusers
import torch
import transformers
from pydantic import Field
from torch import Tensor

from dermray.generators import frozen, sdxl_base
from dermray.generators.base import Batch, Sample
from dermray.generators.sdxl_base import SdxlBaseConfig
from dermray.generators.stable_diffusion_lora import AdaptersConfig, StableDiffusionLora


class SdxlLoraConfig(SdxlBaseConfig, AdaptersConfig):
    """Of Stable Diffusion XL."""

    train_text_encoder: bool = Field(False, description="both of them")


class SdxlLora(StableDiffusionLora):
    """Adapters on a frozen Stable Diffusion XL."""

    name = "sdxl_lora"
    bases: ClassVar[Any] = sdxl_base
    Config = SdxlLoraConfig
    Pipeline = diffusers.StableDiffusionXLPipeline
    TEXT_ENCODERS: ClassVar[dict[str, Any]] = {
        "text_encoder": transformers.CLIPTextModel, "text_encoder_2": transformers.CLIPTextModelWithProjection,
    }  # fmt: skip
    KOHYA: ClassVar[dict[str, str]] = {
        "unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2",
    }  # fmt: skip
    drawn_by: ClassVar[tuple[str, ...]] = (*StableDiffusionLora.drawn_by, "vae")
    texts_apart = True  # 0.6 MB a caption
    no_pooled: Tensor  # where the text encoders do not learn

    def __init__(self, config: SdxlLoraConfig, pipeline: diffusers.StableDiffusionXLPipeline) -> None:
        super().__init__(config, pipeline)
        self.clip_2 = pipeline.text_encoder_2

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        self.clip_2.train(mode and self.trains_text(self.config))
        return self

    @classmethod
    def targets(cls, name: str, part: Any) -> str | list[str]:
        """Of the first CLIP all layers but the last, which nothing is read from."""
        if name != "text_encoder":
            return super().targets(name, part)
        layers = "|".join(str(i) for i in range(part.config.num_hidden_layers - 1))
        return rf".*layers\.({layers})\.self_attn\.([qkv]|out)_proj"

    @classmethod
    def blocks(cls, unet: Any) -> int | None:
        """Of the U-Net: kohya and ComfyUI name SDXL's layers by the original blocks."""
        layers: int = unet.config.layers_per_block
        return layers

    def encode_images(self, images: Tensor) -> list[Sample]:
        """Latent moments (8, h, w)."""
        return [{"moments": moments} for moments in frozen.latent_moments(self.vae, images)]

    def encode_texts(self, texts: list[str]) -> list[Sample]:
        """As `read`; the text encoders stay, but need not read them again."""
        return self.read(texts)

    @torch.no_grad()
    def read(self, captions: list[str]) -> list[Sample]:
        """What of captions can be made ahead: states (77, D) and pooled vector (D',); ids (2, 77) where CLIPs learn."""
        ids = self._ids(captions)
        if self.trains_text(self.config):
            return [{"text": row} for row in ids]
        return [{"text": s, "pooled": p} for s, p in zip(*self._embedded(ids), strict=True)]

    def conditions(self, batch: Batch) -> tuple[Tensor, ...]:
        """States (B, 77, D), pooled vectors (B, D') and sizes (B, 6); captions left out of both texts together."""
        learns, share = self.trains_text(self.config), self.config.caption_dropout
        read = self._embedded(batch["text"]) if learns else (batch["text"], batch["pooled"])
        dropped = (torch.rand(len(read[0])) < share).to(read[0].device)
        shown = [
            torch.where(dropped.view(-1, *[1] * (given.ndim - 1)), none.to(given.dtype), given)
            for given, none in zip(read, self._nothing(), strict=True)
        ]
        return (*shown, self._sizes(len(shown[0]), *batch["moments"].shape[-2:]))

    def conditions_of(self, prompt: str, side: int, negative: bool = False) -> tuple[Tensor, ...]:
        """States (1, 77, D), pooled vector (1, D') and sizes (1, 6); no negative prompt is none of a text."""
        cells, dtype = side // self.pipeline.vae_scale_factor, self.unet.dtype
        read = self._embedded(self._ids([prompt]))
        if negative and not prompt and self.pipeline.config.force_zeros_for_empty_prompt:
            read = torch.zeros_like(read[0]), torch.zeros_like(read[1])
        return tuple(part.to(dtype) for part in (*read, self._sizes(1, cells, cells)))

    def predict(self, z: Tensor, t: Tensor, text: Tensor, *told: Tensor) -> Tensor:
        """told: pooled vectors, sizes, and guidance where the U-Net was distilled with it."""
        pooled, sizes, *guidance = told
        predicted: Tensor = self.unet(
            z, t, encoder_hidden_states=text, timestep_cond=guidance[0] if guidance else None,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes}, return_dict=False,
        )[0]  # fmt: skip
        return predicted

    def _nothing(self) -> tuple[Tensor, Tensor]:
        """States and pooled vector of no caption, (1, ...): zeros, where the base was trained with them."""
        if self.trains_text(self.config):
            states, pooled = self._embedded(self.nothing[None])
        else:
            states, pooled = self.nothing[None], self.no_pooled[None]
        zeros = self.pipeline.config.force_zeros_for_empty_prompt
        return (torch.zeros_like(states), torch.zeros_like(pooled)) if zeros else (states, pooled)

    def _sizes(self, count: int, height: int, width: int) -> Tensor:
        """Of images whose latents have so many cells: original, top left corner, now; px."""
        size = [cells * self.pipeline.vae_scale_factor for cells in (height, width)]
        return torch.tensor([[*size, 0, 0, *size]] * count, dtype=torch.float32).to(self.nothing.device)

    def _ids(self, captions: list[str]) -> Tensor:
        """(B, 2, 77), each CLIP's own."""
        pipeline, options = self.pipeline, {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        found = [
            tokenizer(captions, max_length=sdxl_base.WORDS, **options).input_ids
            for tokenizer in (pipeline.tokenizer, pipeline.tokenizer_2)
        ]
        return torch.stack(found, 1).to(next(self.unet.parameters()).device)

    def _embedded(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """States before the last layer of both CLIPs (B, 77, D), and the second one's pooled vector (B, D')."""
        clips = self.pipeline.text_encoder, self.pipeline.text_encoder_2
        read = [clip(ids[:, i], output_hidden_states=True) for i, clip in enumerate(clips)]
        return torch.cat([out.hidden_states[-2] for out in read], -1), read[1].text_embeds
