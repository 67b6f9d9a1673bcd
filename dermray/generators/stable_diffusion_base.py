"""Stable Diffusion 1.x or 2.x as a base: a pipeline's folder, or one file with all weights as its authors wrote it.

It is always loaded without its safety checker. That draws black over what it flags, skin among it, and the models that
are trained here draw nothing but skin.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
from pydantic import Field
from torch import Tensor, nn

from dermray import weights_file
from dermray.generators import base_check, frozen, nano
from dermray.generators.coverage import Reader
from dermray.generators.latent_unet import LatentUNetConfig

PIPELINE = "StableDiffusionPipeline"
MODELS = ("unet", "vae", "text_encoder")  # have weights
OTHERS = ("tokenizer", "scheduler")
WITHOUT = {"safety_checker": None, "feature_extractor": None, "image_encoder": None, "requires_safety_checker": False}
# How names of tensors begin in a single file, by the part of the pipeline.
SINGLE_FILE = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text_encoder": "cond_stage_model."}
TEXT_LAYER = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"  # (320, channels of text)
FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"  # (channels, 4, 3, 3) where the U-Net reads latents alone


class StableDiffusionBaseConfig(LatentUNetConfig):
    """The base."""

    base: str = Field(
        "nano",
        description="nano; a Stable Diffusion pipeline: directory, s3:// URI or hub id; or a single .safetensors or "
        ".ckpt file, local or in S3",
    )
    base_config: str | None = Field(
        None, description="of a single file: the pipeline whose configs and tokenizer it goes with, as for `base`"
    )
    base_config_revision: str | None = None


def load(
    config: StableDiffusionBaseConfig, captions: list[str], base: str | None = None, unet: str | None = None
) -> diffusers.StableDiffusionPipeline:
    """The pipeline in evaluation mode and without gradients; it has no safety checker.

    Args:
        captions: whose words a nano base knows. base: instead of the config's, a saved one. unet: dtype of the U-Net
            where it is not that of the config.

    Raises:
        FileNotFoundError, ValueError: see `check`.
    """
    from dermray import weights

    place = base or config.base
    if weights.is_single_file(place):
        return _single_file(config, unet or config.dtype)
    build = lambda: nano.stable_diffusion(captions, config.prediction_type or "epsilon")  # noqa: E731
    pipeline = frozen.load_pipeline(
        place, config.revision, config.dtype, build, without=WITHOUT, dtypes={"unet": unet} if unet else None
    )
    if unet:  # a nano base has one dtype
        frozen.in_precision(pipeline.unet, frozen.DTYPES[unet])
    return pipeline


def without_weights(config: StableDiffusionBaseConfig, models: dict[str, Any]) -> dict[str, nn.Module]:
    """Parts by their configs alone; see `frozen.without_weights`."""
    build = lambda: nano.stable_diffusion(["no caption"], config.prediction_type or "epsilon")  # noqa: E731
    return frozen.without_weights(*configs(config), build, models)


def readers(config: StableDiffusionBaseConfig, captions: list[str], saved: str | None = None) -> list[Reader]:
    """CLIP's, or none where every caption is dropped.

    Args:
        saved: a pipeline's folder, which is then the answer.
    """
    if config.caption_dropout == 1:
        return []
    place, revision = (saved, None) if saved else configs(config)
    return [frozen.clip_reader(place, revision, captions)]


def check(config: StableDiffusionBaseConfig) -> None:
    """Whether there is a base of this kind, seen without loading its weights.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is another family's, or lacks a part.
    """
    from dermray import storage, weights

    if not weights.is_single_file(config.base):
        if config.base_config:
            raise ValueError(f"model.base_config={config.base_config}: model.base is a whole pipeline; leave it out")
        base_check.check(config.base, config.revision, PIPELINE, MODELS, OTHERS)
        return
    if not config.base_config:
        raise ValueError(
            f"model.base={config.base}: a single file has no configs and no tokenizer; give model.base_config, a "
            "pipeline that it goes with, such as CompVis/stable-diffusion-v1-4 (2.x: stabilityai/stable-diffusion-2-1)"
        )
    if config.base_config == frozen.NANO:
        raise ValueError(
            "model.base_config=nano: its sizes are those of no single file; give the pipeline that model.base goes with"
        )
    place, revision = configs(config)
    base_check.check(place, revision, PIPELINE, MODELS, OTHERS, "model.base_config", weights_too=False)
    file = weights.everywhere(config.base, "model.base")
    if file.endswith(".safetensors") or not storage.is_s3(file):
        _check_single_file(config, file)
    else:  # to see more of it, all is to be copied
        weights_file.check(file, f"model.base={config.base}")


def switches(pipeline: Any) -> dict[str, Any]:
    """What the pipeline's class takes beside its parts."""
    return {"requires_safety_checker": False}


def configs(config: StableDiffusionBaseConfig) -> tuple[str, str | None]:
    """Where configs and tokenizer are, and at which revision."""
    if config.base_config:
        return config.base_config, config.base_config_revision
    return config.base, config.revision


def _single_file(config: StableDiffusionBaseConfig, unet: str) -> diffusers.StableDiffusionPipeline:
    from dermray import weights

    if not config.base_config:
        raise ValueError(f"model.base={config.base}: a single file needs model.base_config")
    file = weights.locate(config.base, "model.base", config.revision)
    _check_single_file(config, file)
    configs = weights.locate_small(config.base_config, "model.base_config")
    pipeline = diffusers.StableDiffusionPipeline.from_single_file(
        file, config=configs, revision=config.base_config_revision if weights.on_hub(configs) else None, **WITHOUT
    )  # in single precision, which no weights lose anything in
    frozen.in_precision(pipeline, frozen.DTYPES[config.dtype])
    return frozen.at_rest(pipeline)


def _check_single_file(config: StableDiffusionBaseConfig, file: str) -> None:
    """By names and shapes of its tensors.

    Args:
        file: the config's, wherever it is by now.
    """
    name = f"model.base={config.base}"
    shapes = _shapes(file, name)
    missing = [part for part, prefix in SINGLE_FILE.items() if not any(key.startswith(prefix) for key in shapes)]
    if missing:
        raise ValueError(
            f"{name}: expected all of Stable Diffusion 1.x or 2.x by its authors' names, but there is no "
            f"{', no '.join(missing)} inside: another family's, or one model alone"
        )
    channels = shapes.get(FIRST_LAYER, [0, 0])[1]
    if channels != 4:
        raise ValueError(f"{name}: its U-Net takes {channels} channels, expected 4: is it for inpainting?")
    from dermray import weights

    place, revision = configs(config)
    located = weights.locate_small(place, "model.base_config")
    expected = diffusers.UNet2DConditionModel.load_config(located, subfolder="unet", revision=revision)
    width, wanted = shapes.get(TEXT_LAYER, [0, 0])[1], expected.get("cross_attention_dim", 1280)
    if width != wanted:
        raise ValueError(
            f"{name}: its U-Net reads text of {width} channels, and that of model.base_config={place} reads {wanted}; "
            "Stable Diffusion 1.x has 768, 2.x has 1024: give the configs of the same version"
        )


def _shapes(file: str, name: str) -> dict[str, Sequence[int]]:
    """Of all tensors, without reading them."""
    if file.endswith(".safetensors"):
        return {key: tensor["shape"] for key, tensor in weights_file.read_header(file, name).items()}
    state = weights_file.load_pickled(Path(file), name, "meta")
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    return {key: value.shape for key, value in state.items() if isinstance(value, Tensor)}
