"""Stable Diffusion XL as a base: a pipeline's folder, in miniature, by its configs alone.

Its own autoencoder overflows in half precision (its config says force_upcast), so it stays in full precision; one that
was mended, such as madebyollin/sdxl-vae-fp16-fix, has the precision of all else.
"""

from __future__ import annotations

from typing import Any

import diffusers
import torch
import transformers
from pydantic import Field
from torch import nn

from dermray.generators import base_check, components, components_check, frozen, nano
from dermray.generators.coverage import Reader, TokenReader
from dermray.generators.latent_unet import LatentUNetConfig

PIPELINE = "StableDiffusionXLPipeline"
MODELS: dict[str, Any] = {  # have weights
    "unet": diffusers.UNet2DConditionModel, "vae": diffusers.AutoencoderKL,
    "text_encoder": transformers.CLIPTextModel, "text_encoder_2": transformers.CLIPTextModelWithProjection,
}  # fmt: skip
TOKENIZERS = {"tokenizer": "clip", "tokenizer_2": "clip_2"}
WORDS = 77  # that both read


class SdxlBaseConfig(LatentUNetConfig):
    """The base, and an autoencoder of its own."""

    base: str = Field("nano", description="nano, or a Stable Diffusion XL pipeline: directory, s3:// URI or hub id")
    vae: str | None = Field(
        None, description=f"an autoencoder instead of the base's, one that half precision suits: {components.PLACES}"
    )
    vae_revision: str | None = None


def load(config: SdxlBaseConfig, captions: list[str], base: str | None = None) -> Any:
    """The pipeline in evaluation mode and without gradients.

    Args:
        captions: whose words a nano base knows. base: instead of the config's, a saved one.

    Raises:
        FileNotFoundError, ValueError: see `check`; latents that are normalised in another way than SDXL's.
    """
    build = lambda: nano_pipeline(captions, config.prediction_type or "epsilon")  # noqa: E731
    own = {"vae": None} if config.vae else None
    pipeline = frozen.load_pipeline(
        base or config.base, config.revision, config.dtype, build, without=own, dtypes={"vae": "fp32"}
    )
    if config.vae:
        parts = components.PartsConfig(vae=config.vae, vae_revision=config.vae_revision, dtype=config.dtype)
        pipeline.register_modules(vae=components.load(parts, captions, ["vae"])["vae"])
    if pipeline.vae.config.get("latents_mean") is not None:
        raise ValueError(
            f"model.base={config.base}: its latents are normalised by latents_mean and latents_std, as Playground's; "
            "family sdxl_lora trains those that scaling_factor alone normalises, give another base"
        )
    settle(pipeline.vae, config.dtype)
    return pipeline


def settle(vae: Any, dtype: str) -> None:
    """Give an autoencoder its precision."""
    frozen.in_precision(vae, torch.float32 if vae.config.force_upcast else frozen.DTYPES[dtype])


def check(config: SdxlBaseConfig) -> None:
    """Whether there is a base of this kind, seen without loading its weights.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is another family's, or lacks a part.
    """
    base_check.check(config.base, config.revision, PIPELINE, list(MODELS), [*TOKENIZERS, "scheduler"])
    if config.vae:
        components_check.check(components.PartsConfig(vae=config.vae, vae_revision=config.vae_revision), ["vae"])


def without_weights(config: SdxlBaseConfig, models: dict[str, Any]) -> dict[str, nn.Module]:
    """Parts by their configs alone; see `frozen.without_weights`."""
    build = lambda: nano_pipeline(["no caption"], config.prediction_type or "epsilon")  # noqa: E731
    return frozen.without_weights(config.base, config.revision, build, models)


def readers(config: SdxlBaseConfig, captions: list[str], saved: str | None = None) -> list[Reader]:
    """Both CLIPs', or none where every caption is dropped.

    Args:
        saved: a pipeline's folder, which is then the answer.
    """
    if config.caption_dropout == 1:
        return []
    place, revision = (saved, None) if saved else (config.base, config.revision)
    return [
        TokenReader(name, frozen.tokenizer(place, revision, folder, captions, WORDS), WORDS)
        for folder, name in TOKENIZERS.items()
    ]


def switches(pipeline: Any) -> dict[str, Any]:
    """What the pipeline's class takes beside its parts."""
    return {"force_zeros_for_empty_prompt": pipeline.config.force_zeros_for_empty_prompt}


def nano_pipeline(captions: list[str], prediction_type: str) -> diffusers.StableDiffusionXLPipeline:
    """SDXL with a U-Net of two levels, the lower of which has attention of two layers."""
    torch.manual_seed(0)
    words = nano.tokenizer(captions, WORDS)
    unet = nano.unet(
        cross_attention_dim=2 * nano.WIDTH, attention_head_dim=(2, 4), transformer_layers_per_block=(1, 2),
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + nano.WIDTH,
    )  # fmt: skip
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
        prediction_type=prediction_type,
    )  # fmt: skip
    return diffusers.StableDiffusionXLPipeline(
        vae=nano.vae(scaling_factor=0.13025), text_encoder=nano.clip(len(words), 2), tokenizer=words,
        text_encoder_2=nano.clip(len(words), 2, True), tokenizer_2=nano.tokenizer(captions, WORDS), unet=unet,
        scheduler=scheduler,
    )  # fmt: skip
