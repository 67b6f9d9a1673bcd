"""Tiny pipelines of random weights in the geometry of the published ones, built from config alone.

They stand where a paper's base model would: everything that is true of code is true of them. What they draw is noise
until they are trained.
"""

from __future__ import annotations

from typing import Any

import diffusers
import torch
import transformers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from dermray.generators.text import WORD, Words

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]
WIDTH = 32


def flux(captions: list[str], length: int) -> diffusers.FluxPipeline:
    """FLUX with two double and two single blocks, latents of 4 channels at an eighth of the image's side."""
    torch.manual_seed(0)
    words = tokenizer(captions, length)
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    text = transformers.T5Config(vocab_size=len(words), d_model=WIDTH, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15),
        vae=vae(shift_factor=0.1159, scaling_factor=0.3611),
        text_encoder=clip(len(words)),
        tokenizer=tokenizer(captions, 77),
        text_encoder_2=transformers.T5EncoderModel(text),
        tokenizer_2=words,
        transformer=transformer,
    )


def stable_diffusion(captions: list[str], prediction_type: str = "epsilon") -> diffusers.StableDiffusionPipeline:
    """Stable Diffusion with a U-Net of two levels."""
    torch.manual_seed(0)
    words = tokenizer(captions, 77)
    scheduler = diffusers.DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        prediction_type=prediction_type, steps_offset=1,
    )  # fmt: skip
    return diffusers.StableDiffusionPipeline(
        vae=vae(), text_encoder=clip(len(words)), tokenizer=words, unet=unet(), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def unet(**options: Any) -> diffusers.UNet2DConditionModel:
    """A U-Net of two levels with cross-attention at the lower one."""
    defaults: dict[str, Any] = {
        "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": (16, 32), "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH, "norm_num_groups": 8, "attention_head_dim": 4,
    }  # fmt: skip
    return diffusers.UNet2DConditionModel(**(defaults | options))


def vae(channels: int = 4, **options: Any) -> diffusers.AutoencoderKL:
    """An autoencoder of so many latent channels at an eighth of the side, as Stable Diffusion's."""
    blocks = 4
    return diffusers.AutoencoderKL(
        block_out_channels=(8,) * blocks, latent_channels=channels, norm_num_groups=4, layers_per_block=1,
        sample_size=64, down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks, **options,
    )  # fmt: skip


def clip(vocabulary: int, layers: int = 1, projected: bool = False) -> Any:
    """CLIP's text tower; projected: with the matrix behind its pooled vector, as families of several CLIPs have it."""
    ends = {"bos_token_id": SPECIAL.index("<s>"), "eos_token_id": SPECIAL.index("</s>")}
    config = transformers.CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=layers,
        num_attention_heads=2, projection_dim=WIDTH, pad_token_id=0, **ends,
    )  # fmt: skip
    return (transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel)(config)


def tokenizer(captions: list[str], length: int) -> transformers.PreTrainedTokenizerFast:
    """Whole words, those of the captions."""
    words = [*SPECIAL, *Words.from_captions(captions, length, 4096).words]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    # Where `casefold` does more than lower case: sharp s, and the sigma that ends a Greek word.
    folded = [normalizers.Replace("\u00df", "ss"), normalizers.Replace("\u03c2", "\u03c3")]
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), *folded])
    made.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)  # as `text.split`
    made.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        model_max_length=length,
    )  # fmt: skip
