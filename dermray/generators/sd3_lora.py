"""Stable Diffusion 3.5, medium and large: LoRA on its MMDiT, by flow matching in latents of 16 channels.

A text is read by three encoders. CLIP-L's and OpenCLIP-G's states stand beside each other, with T5's tokens after them,
and the CLIPs' pooled vectors modulate every block. The shift of noise levels is one number, 3, at every resolution.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import diffusers
import torch
import transformers
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from dermray.generators import flow_text, nano
from dermray.generators.base import Batch, Sample, Texts
from dermray.generators.flow_family import FlowLoraConfig
from dermray.generators.flow_lora import FlowLora

# Regular expressions of whole module names; in brackets the parameters at rank 64 on SD 3.5 medium and large.
BLOCK = r"transformer_blocks\.\d+\."
ATTENTION = r"attn2?\.(to_[qkv]|to_out\.0)|attn\.(add_[qkv]_proj|to_add_out)"  # medium's first 13 blocks have attn2
TARGETS = {
    "image_attention": rf"{BLOCK}attn2?\.(to_[qkv]|to_out\.0)",
    "attention": f"{BLOCK}({ATTENTION})",
    "attention_and_feed_forward": rf"{BLOCK}({ATTENTION}|ff(_context)?\.net\.(0\.proj|2))",
}
T5 = ("text_encoder_3", "tokenizer_3")
CLIP_WORDS = 77
LOST = (
    "it draws without T5 too, by model.use_t5=false, and the memory of 4.8 billion weights is saved; what is lost is "
    f"text beyond CLIP's {CLIP_WORDS} tokens, written words, and some of what long captions say"
)


class Sd3LoraConfig(FlowLoraConfig):
    """What Stable Diffusion 3.5 adds: its encoders."""

    base: str = Field("nano", description="nano, or a Stable Diffusion 3.5 pipeline: directory, s3:// URI or hub id")
    targets: str = Field("attention", pattern=f"^({'|'.join(TARGETS)})$")
    clip_dropout: float = Field(0.1, ge=0, lt=1, description="captions left out of both CLIPs")
    t5_dropout: float = Field(0.1, ge=0, lt=1, description="captions left out of T5's tokens, drawn by itself")
    use_t5: bool = Field(True, description="false: T5 is neither loaded nor looked for, zeros stand for its tokens")
    max_sequence_length: int = Field(256, ge=8, le=512, description="T5 tokens; padding is attended to")


class Sd3Lora(FlowLora):
    """Adapters on Stable Diffusion 3.5's transformer."""

    name = "sd3_lora"
    Config = Sd3LoraConfig
    Pipeline = diffusers.StableDiffusion3Pipeline
    MODELS = {
        "transformer": diffusers.SD3Transformer2DModel, "vae": diffusers.AutoencoderKL,
        "text_encoder": transformers.CLIPTextModelWithProjection,
        "text_encoder_2": transformers.CLIPTextModelWithProjection, "text_encoder_3": transformers.T5EncoderModel,
    }  # fmt: skip
    ENCODERS = {"text_encoder": "clip", "text_encoder_2": "clip_2", "text_encoder_3": "t5"}
    TARGETS = TARGETS
    drawn_by: ClassVar[tuple[str, ...]] = (*FlowLora.drawn_by, "use_t5")
    negative_prompts = True
    TEXT = ("pooled", "clip", "tokens")
    DROPOUT = {"clip_dropout": ("pooled", "clip"), "t5_dropout": ("tokens",)}

    def __init__(self, config: Any, pipeline: Any, texts: Texts | None = None) -> None:
        super().__init__(config, pipeline, texts)
        if self.transformer is not None:  # medium's table of 226 million sines, which no checkpoint needs
            self.transformer.pos_embed._non_persistent_buffers_set.add("pos_embed")

    @classmethod
    def nano(cls, config: Sd3LoraConfig, captions: list[str]) -> diffusers.StableDiffusion3Pipeline:
        """Three blocks, the first with the second attention of medium's."""
        torch.manual_seed(0)
        words, width = nano.tokenizer(captions, config.max_sequence_length), nano.WIDTH
        transformer = diffusers.SD3Transformer2DModel(
            sample_size=8, in_channels=16, out_channels=16, num_layers=3, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=3 * width, caption_projection_dim=32, pooled_projection_dim=2 * width,
            pos_embed_max_size=64, dual_attention_layers=(0,), qk_norm="rms_norm",
        )  # fmt: skip
        t5 = transformers.T5Config(
            vocab_size=len(words), d_model=3 * width, d_kv=16, d_ff=64, num_layers=1, num_heads=2
        )
        return diffusers.StableDiffusion3Pipeline(
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), transformer=transformer,
            vae=nano.vae(16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False,
                         use_post_quant_conv=False),
            text_encoder=nano.clip(len(words), 2, True), tokenizer=nano.tokenizer(captions, CLIP_WORDS),
            text_encoder_2=nano.clip(len(words), 2, True), tokenizer_2=nano.tokenizer(captions, CLIP_WORDS),
            text_encoder_3=transformers.T5EncoderModel(t5), tokenizer_3=words,
        )  # fmt: skip

    @classmethod
    def models(cls, config: Sd3LoraConfig) -> dict[str, Any]:
        """Without T5 where it is not used."""
        return {folder: model for folder, model in cls.MODELS.items() if config.use_t5 or folder not in T5}

    @classmethod
    def reads(cls, config: Sd3LoraConfig) -> dict[str, tuple[str, int]]:
        """Both CLIPs' and T5's."""
        clips = {"tokenizer": ("clip", CLIP_WORDS), "tokenizer_2": ("clip_2", CLIP_WORDS)}
        return clips | ({"tokenizer_3": ("t5", config.max_sequence_length)} if config.use_t5 else {})

    @classmethod
    def stand_ins(cls, config: Sd3LoraConfig, captions: list[str]) -> dict[str, Any]:
        """None for T5's where it is not used."""
        return {"tokenizer_3": None} | super().stand_ins(config, captions)

    @classmethod
    def check_start(cls, config: Sd3LoraConfig) -> None:
        """The base; where it lacks T5 alone, what it costs to go on without."""
        try:
            super().check_start(config)
        except ValueError as error:
            lacks = str(error).partition("it lacks ")[2].partition(";")[0]
            if config.use_t5 and lacks and all("_3" in part for part in lacks.split(", ")):
                raise ValueError(f"{error}; or: {LOST}") from None
            raise

    @classmethod
    def encoded_by(cls, config: Sd3LoraConfig) -> dict[str, Any] | None:
        """Whether there is T5, too."""
        by = super().encoded_by(config)
        return by if by is None or config.use_t5 else by | {"use_t5": False}

    def read(self, texts: list[str]) -> list[Sample]:
        """The CLIPs' pooled vectors (D,) and states (77, D'), and T5's tokens (T, D''), as diffusers pads them; T is 0
        without T5."""
        device, of = flow_text.device_of(self.pipeline.text_encoder), self.pipeline._get_clip_prompt_embeds
        (states, pooled), (states_2, pooled_2) = (of(texts, device=device, clip_model_index=i) for i in (0, 1))
        length = self.config.max_sequence_length
        tokens = states.new_zeros(len(texts), 0, 0)
        if self.t5 is not None:
            tokens = self.pipeline._get_t5_prompt_embeds(texts, max_sequence_length=length, device=device)
        parts = torch.cat([pooled, pooled_2], -1), torch.cat([states, states_2], -1), tokens
        return [dict(zip(self.TEXT, each, strict=True)) for each in zip(*parts, strict=True)]

    def velocity(self, latents: Tensor, sigma: Tensor, text: Batch, guidance: Tensor) -> Tensor:
        """text: pooled (B, D), clip (B, 77, D'), tokens (B, T, D'')."""
        width, tokens = self.pipeline.transformer.config.joint_attention_dim, text["tokens"].to(self.dtype)
        if not tokens.shape[1]:
            tokens = tokens.new_zeros(len(tokens), self.config.max_sequence_length, width)
        clip = pad(text["clip"].to(self.dtype), (0, width - text["clip"].shape[-1]))
        velocity: Tensor = self.transformer(
            hidden_states=latents.to(self.dtype),
            timestep=sigma.float() * 1000,
            encoder_hidden_states=torch.cat([clip, tokens], 1),
            pooled_projections=text["pooled"].to(self.dtype),
            return_dict=False,
        )[0]
        return velocity

    def walk(self, tokens: int, steps: int) -> Any:
        """From and to the scheduler's own ends, which it shifts once more."""
        own = copy.deepcopy(self.pipeline.scheduler)
        own.set_timesteps(steps, **({"mu": self.shift_mu(tokens, steps)} if own.config.use_dynamic_shifting else {}))
        own.set_begin_index(0)
        return own

    def sigmas(self, timesteps: Tensor) -> Tensor:
        """In full precision, as its pipeline tells them."""
        return timesteps / 1000

    def to_kohya(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """diffusers' names of layers, which ComfyUI reads as they are, with alpha beside them."""
        modules = sorted({name.rpartition(".lora_")[0] for name in weights})
        alphas = {f"transformer.{module}.alpha": torch.tensor(float(self.config.alpha)) for module in modules}
        return {f"transformer.{name}": value for name, value in weights.items()} | alphas

    @classmethod
    def _pipeline(cls, config: Sd3LoraConfig, base: str, captions: Any = (), without: Any = ()) -> Any:
        """Without T5 where it is not used."""
        return super()._pipeline(config, base, captions, [*without, *(() if config.use_t5 else T5)])
