"""SANA (NVIDIA 2024) with LoRA: 1.6 billion parameters; code Apache 2.0, weights under NVIDIA's.

Its autoencoder draws nothing and takes 32 x 32 px to a latent, so an image of 1024 px is 1024 tokens of linear
attention. Gemma 2 reads a text, in lower case; an instruction how to enhance a prompt may stand before it. The shift of
noise levels is 3 at every resolution, and its own sampler is DPM-Solver++ on flow sigmas.
"""

from __future__ import annotations

import copy
import inspect
import math
from typing import Any

import diffusers
import torch
import transformers
from pydantic import Field
from torch import Tensor

from dermray.generators import flow_text, nano
from dermray.generators.base import Batch, Request, Sample, Texts
from dermray.generators.canvas import Canvas
from dermray.generators.flow_family import FlowLoraConfig
from dermray.generators.flow_lora import FlowLora

BLOCK = r"transformer_blocks\.\d+\."
TARGETS = {  # in brackets the parameters at rank 64 on 1.6B; its feed-forward is of convolutions
    "queries_keys_values": BLOCK + r"attn[12]\.to_[qkv]",  # (34,406,400), those of diffusers' training script
    "attention": BLOCK + r"attn[12]\.(to_[qkv]|to_out\.0)",  # (45,875,200)
}
INSTRUCTION: list[str] = (
    inspect.signature(diffusers.SanaPipeline.__call__).parameters["complex_human_instruction"].default
)


class SanaLoraConfig(FlowLoraConfig):
    """What SANA adds."""

    base: str = Field("nano", description="nano, or a SANA pipeline: directory, s3:// URI or hub id")
    image_size: int = Field(64, ge=32, multiple_of=32)  # px
    targets: str = Field("attention", pattern=f"^({'|'.join(TARGETS)})$")
    caption_dropout: float = Field(0.1, ge=0, lt=1, description="captions left out, for guidance")
    max_sequence_length: int = Field(300, ge=8, le=300, description="tokens, at most")
    instruction: bool = Field(
        False, description="before each prompt, as its pipeline's complex_human_instruction; for short prompts"
    )


class SanaLora(FlowLora):
    """Adapters on SANA's transformer."""

    name = "sana_lora"
    Config = SanaLoraConfig
    Pipeline = diffusers.SanaPipeline
    MODELS = {
        "transformer": diffusers.SanaTransformer2DModel, "vae": diffusers.AutoencoderDC,
        "text_encoder": transformers.Gemma2Model,
    }  # fmt: skip
    ENCODERS = {"text_encoder": "gemma"}
    TARGETS = TARGETS
    DROPOUT = {"caption_dropout": ("tokens",)}
    ragged = ("tokens",)
    row_by_row = True
    negative_prompts = True
    noise_dtype = torch.float32
    patch = 32
    drawn = False
    drawn_by = (*FlowLora.drawn_by, "instruction")

    def __init__(self, config: Any, pipeline: Any, texts: Texts | None = None) -> None:
        super().__init__(config, pipeline, texts)
        self.negative_prompts = not config.instruction  # type: ignore[misc]  # a service says so of this one

    @classmethod
    def nano(cls, config: SanaLoraConfig, captions: list[str]) -> diffusers.SanaPipeline:
        """Two blocks; an autoencoder of six levels, as deep as the published one."""
        torch.manual_seed(0)
        words, levels = nano.tokenizer(captions, config.max_sequence_length), 6
        text = transformers.Gemma2Config(
            vocab_size=len(words), hidden_size=nano.WIDTH // 2, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=1024,
            query_pre_attn_scalar=8, pad_token_id=0, bos_token_id=2, eos_token_id=3,
        )  # fmt: skip
        transformer = diffusers.SanaTransformer2DModel(
            in_channels=4, out_channels=4, num_layers=2, num_attention_heads=4, attention_head_dim=8,
            num_cross_attention_heads=2, cross_attention_head_dim=16, cross_attention_dim=32,
            caption_channels=text.hidden_size, sample_size=2,
        )  # fmt: skip
        vae = diffusers.AutoencoderDC(
            latent_channels=4, attention_head_dim=4, scaling_factor=0.41407, downsample_block_type="conv",
            encoder_block_types=("ResBlock",) * (levels - 1) + ("EfficientViTBlock",),
            decoder_block_types=("ResBlock",) * (levels - 1) + ("EfficientViTBlock",),
            upsample_block_type="interpolate",
            encoder_block_out_channels=(8,) * levels, decoder_block_out_channels=(8,) * levels,
            encoder_layers_per_block=(1,) * levels, decoder_layers_per_block=(1,) * levels,
            encoder_qkv_multiscales=((),) * (levels - 1) + ((5,),),
            decoder_qkv_multiscales=((),) * (levels - 1) + ((5,),),
        )  # fmt: skip
        scheduler = diffusers.DPMSolverMultistepScheduler(
            flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction"
        )
        return diffusers.SanaPipeline(
            tokenizer=words, text_encoder=transformers.Gemma2Model(text), vae=vae, transformer=transformer,
            scheduler=scheduler,
        )  # fmt: skip

    @classmethod
    def reads(cls, config: SanaLoraConfig) -> dict[str, tuple[str, int]]:
        """One tokenizer."""
        return {"tokenizer": ("gemma", config.max_sequence_length)}

    @classmethod
    def encoded_by(cls, config: SanaLoraConfig) -> dict[str, Any] | None:
        """Whether there was the instruction, too."""
        by = super().encoded_by(config)
        return by if by is None or not config.instruction else by | {"instruction": INSTRUCTION}

    def encoded(self, images: Tensor) -> Tensor:
        """Latents, of which there is one for an image."""
        latents: Tensor = self.vae.encode(images.to(self.vae.dtype) / 127.5 - 1).latent
        return latents.float()

    def normalise(self, latents: Tensor) -> Tensor:
        """By one factor."""
        seen: Tensor = latents * self.vae.config.scaling_factor
        return seen

    def denormalise(self, latents: Tensor) -> Tensor:
        """Back, in the autoencoder's precision."""
        made: Tensor = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
        return made

    def read(self, texts: list[str]) -> list[Sample]:
        """The last states, (T, D), without padding: of the start and, where there is an instruction, of the last
        `max_sequence_length` - 1 tokens, as its pipeline chooses them. No text is read without the instruction."""
        words, before = self.pipeline.tokenizer, "\n".join(INSTRUCTION) if self.config.instruction else ""
        skipped = len(words.encode(before)) - 2 if before else 0
        inputs = words(
            [(before if text else "") + text.lower().strip() for text in texts], padding=True, padding_side="right",
            truncation=True, max_length=skipped + self.config.max_sequence_length, return_tensors="pt",
        )  # fmt: skip
        device = flow_text.device_of(self.pipeline.text_encoder)
        states = self.pipeline.text_encoder(inputs.input_ids.to(device), inputs.attention_mask.to(device))[0]
        ends = inputs.attention_mask.sum(1).tolist()
        starts = [1 + (skipped if text else 0) for text in texts]
        return [
            {"tokens": torch.cat([row[:1], row[start:end]])}
            for row, start, end in zip(states, starts, ends, strict=True)
        ]

    def velocity(self, latents: Tensor, sigma: Tensor, text: Batch, guidance: Tensor) -> Tensor:
        """text: tokens (B, T, D) and their mask (B, T)."""
        velocity: Tensor = self.transformer(
            latents.to(self.dtype),
            encoder_hidden_states=text["tokens"].to(self.dtype),
            encoder_attention_mask=text["tokens_mask"],
            timestep=sigma * 1000 * self.pipeline.transformer.config.timestep_scale,
            return_dict=False,
        )[0]
        return velocity.float()

    def training_mu(self, tokens: int) -> float:
        """Of the constant shift, whose name is the scheduler's affair."""
        scheduler = self.pipeline.scheduler.config
        return math.log(scheduler.get("flow_shift") or scheduler["shift"])

    def walk(self, tokens: int, steps: int) -> Any:
        """Its scheduler's own timesteps: DPM-Solver++ or Euler."""
        own = copy.deepcopy(self.pipeline.scheduler)
        own.set_timesteps(steps)
        own.set_begin_index(0)
        return own

    def sigmas(self, timesteps: Tensor) -> Tensor:
        """In full precision; DPM-Solver's timesteps are whole numbers."""
        return timesteps.float() / 1000

    def begin(self, request: Request, guidance_scale: float, steps: int) -> Canvas:
        """A negative prompt has no instruction, but texts are encoded alike."""
        if self.config.instruction and request.negative_prompt:
            raise ValueError(
                f"negative_prompt={request.negative_prompt!r}: this model reads texts after an instruction, which its "
                "pipeline never puts before a negative prompt; leave it out, or train with model.instruction=false"
            )
        return super().begin(request, guidance_scale, steps)
