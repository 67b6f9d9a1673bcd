"""Qwen-Image (Alibaba 2025) with LoRA: 20 billion parameters, Apache 2.0.

Its autoencoder is a video's, of which an image is the first frame: latents of 16 channels, each with its own mean and
standard deviation. Qwen2.5-VL reads a prompt inside a template, whose first tokens are dropped. Guidance is by a second
text, and what it makes of each token is brought back to the length of the prediction with text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from pydantic import Field
from tokenizers import normalizers, processors
from torch import Tensor

from dermray.generators import flow_schedule, flow_text, frozen, kohya, nano
from dermray.generators.base import Batch, Sample
from dermray.generators.coverage import Reader, TokenReader
from dermray.generators.flow_family import FlowLoraConfig
from dermray.generators.flow_lora import FlowLora

BLOCK = r"transformer_blocks\.\d+\."
IMAGE, TEXT = r"attn\.(to_[qkv]|to_out\.0)", r"attn\.(add_[qkv]_proj|to_add_out)"
TARGETS = {  # in brackets the parameters at rank 64
    "image_attention": BLOCK + IMAGE,  # (94,371,840), those of diffusers' training script
    "attention": f"{BLOCK}({IMAGE}|{TEXT})",  # (187,957,248)
    "attention_and_feed_forward": rf"{BLOCK}({IMAGE}|{TEXT}|(img|txt)_mlp\.net\.(0\.proj|2))",  # (421,920,768)
}
BEFORE, AFTER = 34, 5  # tokens of the template around a prompt


class QwenImageLoraConfig(FlowLoraConfig):
    """What Qwen-Image adds."""

    base: str = Field("nano", description="nano, or a Qwen-Image pipeline: directory, s3:// URI or hub id")
    targets: str = Field("attention", pattern=f"^({'|'.join(TARGETS)})$")
    caption_dropout: float = Field(0.1, ge=0, lt=1, description="captions left out, for guidance")
    max_sequence_length: int = Field(512, ge=8, le=1024, description="tokens, at most")


class QwenImageLora(FlowLora):
    """Adapters on Qwen-Image's transformer."""

    name = "qwen_image_lora"
    Config = QwenImageLoraConfig
    Pipeline = diffusers.QwenImagePipeline
    MODELS = {
        "transformer": diffusers.QwenImageTransformer2DModel, "vae": diffusers.AutoencoderKLQwenImage,
        "text_encoder": transformers.Qwen2_5_VLForConditionalGeneration,
    }  # fmt: skip
    ENCODERS = {"text_encoder": "qwen2_5_vl"}
    TARGETS = TARGETS
    DROPOUT = {"caption_dropout": ("tokens",)}
    ragged = ("tokens",)
    row_by_row = True
    negative_prompts = True

    @classmethod
    def nano(cls, config: QwenImageLoraConfig, captions: list[str]) -> diffusers.QwenImagePipeline:
        """Two blocks, latents of 4 channels."""
        torch.manual_seed(0)
        words, width = tokenizer(captions, config.max_sequence_length), nano.WIDTH // 2
        text = {
            "vocab_size": len(words), "hidden_size": width, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 2048, "pad_token_id": 0,
            "bos_token_id": 2, "eos_token_id": 3, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
        }  # fmt: skip
        vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": width}
        encoder = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
        transformer = diffusers.QwenImageTransformer2DModel(
            in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=width, axes_dims_rope=(4, 6, 6),
        )  # fmt: skip
        vae = diffusers.AutoencoderKLQwenImage(
            base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[-0.76, -0.71, 0.11, 0.97],
            latents_std=[2.82, 1.45, 0.66, 1.22],
        )  # fmt: skip
        vae.decoder.conv_out.weight.data *= 4  # a fresh one's images are almost grey
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
        )
        return diffusers.QwenImagePipeline(
            scheduler=scheduler, vae=vae, tokenizer=words, transformer=transformer,
            text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(encoder),
        )  # fmt: skip

    @classmethod
    def targets(cls, config: QwenImageLoraConfig, transformer: Any) -> str:
        """Without what the last block does to the text, which is not read any more: it would have no gradient."""
        last = rf"transformer_blocks\.{len(transformer.transformer_blocks) - 1}\."
        return rf"(?!{last}(attn\.(add_q_proj|to_add_out)|txt_mlp)){cls.TARGETS[config.targets]}"

    @classmethod
    def reads(cls, config: QwenImageLoraConfig) -> dict[str, tuple[str, int]]:
        """One tokenizer."""
        return {"tokenizer": ("qwen2_5_vl", config.max_sequence_length)}

    @classmethod
    def stand_ins(cls, config: QwenImageLoraConfig, captions: list[str]) -> dict[str, Any]:
        """To which the template is as many tokens as to Qwen's."""
        return {"tokenizer": tokenizer(captions, config.max_sequence_length)}

    @classmethod
    def readers(cls, config: QwenImageLoraConfig, captions: list[str], saved: Path | None = None) -> list[Reader]:
        """Of all that is kept after a prompt's last token nothing is missed."""
        base, length = frozen.saved_base(config.base, saved), config.max_sequence_length
        made = tokenizer(captions, length) if base == frozen.NANO else None
        read = made or frozen.tokenizer(base, config.revision, "tokenizer", captions, length)
        return [TokenReader("qwen2_5_vl", read, length)]

    def encoded(self, images: Tensor) -> Tensor:
        """Of a video of one frame."""
        moments: Tensor = frozen.latent_moments(self.vae, images.unsqueeze(2))
        return moments.squeeze(2)

    def decoded(self, latents: Tensor) -> Tensor:
        """The one frame."""
        images: Tensor = self.vae.decode(latents.unsqueeze(2)).sample[:, :, 0]
        return images

    def normalise(self, latents: Tensor) -> Tensor:
        """By each channel's mean and standard deviation."""
        mean, std = self._statistics(latents)
        return (latents - mean) * (1 / std)

    def denormalise(self, latents: Tensor) -> Tensor:
        """Back, in the autoencoder's precision."""
        latents = latents.to(self.vae.dtype)
        mean, std = self._statistics(latents)
        return latents / (1 / std) + mean

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(self.vae.config[f"latents_{part}"]) for part in ("mean", "std"))
        return mean.view(1, -1, 1, 1).to(latents), std.view(1, -1, 1, 1).to(latents)

    def latent_shape(self, side: int) -> tuple[int, ...]:
        """The autoencoder's channels have another name."""
        cells = side // self.pipeline.vae_scale_factor
        return self.vae.config.z_dim, cells, cells

    def read(self, texts: list[str]) -> list[Sample]:
        """The last layer's states after the template's beginning, (T, D), without padding."""
        limit = self.config.max_sequence_length
        inputs = self.pipeline.tokenizer(
            [self.pipeline.prompt_template_encode.format(text) for text in texts],
            padding=True, truncation=True, max_length=self.pipeline.tokenizer_max_length + BEFORE, return_tensors="pt",
        )  # fmt: skip
        device = flow_text.device_of(self.pipeline.text_encoder)
        states = self.pipeline.text_encoder(
            input_ids=inputs.input_ids.to(device), attention_mask=inputs.attention_mask.to(device),
            output_hidden_states=True,
        ).hidden_states[-1]  # fmt: skip
        firsts, lengths = inputs.attention_mask.argmax(1).tolist(), inputs.attention_mask.sum(1).tolist()
        own = [row[first : first + length] for row, first, length in zip(states, firsts, lengths, strict=True)]
        return [{"tokens": row[BEFORE : BEFORE + limit]} for row in own]

    def velocity(self, latents: Tensor, sigma: Tensor, text: Batch, guidance: Tensor) -> Tensor:
        """By tokens of 2 x 2 latents. text: tokens (B, T, D) and their mask (B, T)."""
        b, c, h, w = latents.shape
        mask = text["tokens_mask"]
        unpadded = not self.training and bool(mask.all())  # attention is faster then, but the host waits to know
        out = self.transformer(
            hidden_states=self.pipeline._pack_latents(latents.to(self.dtype), b, c, h, w),
            timestep=sigma.to(self.dtype),
            encoder_hidden_states=text["tokens"].to(self.dtype),
            encoder_hidden_states_mask=None if unpadded else mask,
            img_shapes=[[(1, h // 2, w // 2)]] * b,
            return_dict=False,
        )[0]
        return self._unpacked(out, h, w)

    def walk(self, tokens: int, steps: int) -> Any:
        """A single step ends at 0, not at the scheduler's last level, which it would divide by zero for."""
        own, mu = self.pipeline.scheduler, self.shift_mu(tokens, steps)
        return flow_schedule.walk(own if steps > 1 else own.from_config(own.config, shift_terminal=None), steps, mu)

    def mixed(self, given: Tensor, without: Tensor, scales: Tensor) -> Tensor:
        """Guided, each token as long as with text."""
        b, c, h, w = given.shape
        packed = [
            self.pipeline._pack_latents(part, b, c, h, w) for part in (given, super().mixed(given, without, scales))
        ]
        length, led_to = (part.norm(dim=-1, keepdim=True) for part in packed)
        return self._unpacked(packed[1] * (length / led_to), h, w)

    def _unpacked(self, tokens: Tensor, h: int, w: int) -> Tensor:
        side = self.pipeline.vae_scale_factor
        latents: Tensor = self.pipeline._unpack_latents(tokens, h * side, w * side, side).squeeze(2)
        return latents

    def to_kohya(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """ComfyUI knows diffusers' names of these layers."""
        return kohya.modules_to_comfy(weights, self.config.alpha)


def tokenizer(captions: list[str], length: int) -> transformers.PreTrainedTokenizerFast:
    """The words of `captions`; the template's beginning is 34 unknown ones and its end 5, as many as Qwen's tokens."""
    made = nano.tokenizer(captions, length + BEFORE + AFTER)
    before, after = diffusers.QwenImagePipeline(*[None] * 5).prompt_template_encode.split("{}")
    around = [normalizers.Replace(part, " x " * count) for part, count in ((before, BEFORE), (after, AFTER))]
    inner = made.backend_tokenizer
    inner.normalizer = normalizers.Sequence([*around, inner.normalizer])
    inner.post_processor = processors.TemplateProcessing("$A", special_tokens=[])
    return made
