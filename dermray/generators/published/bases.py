"""Published bases by hub id, and their small files in a directory: as much as a forecast on fake tensors reads."""

import json
from pathlib import Path
from typing import Any

from dermray.generators.published import parts, qwen3, qwen_image, sana, stability

Folders = dict[str, dict[str, Any]]  # config by folder; "" is the repository's own, or fields of its model_index.json

STABLE_DIFFUSION_1: Folders = {
    "unet": parts.SD_1_UNET, "vae": parts.SD_VAE, "text_encoder": parts.CLIP_VIT_L_14, "scheduler": parts.SD_1_NOISE,
}  # fmt: skip
STABLE_DIFFUSION_2: Folders = {
    "unet": parts.SD_2_UNET, "vae": parts.SD_VAE, "text_encoder": parts.OPEN_CLIP_VIT_H_14,
    "scheduler": parts.SD_2_NOISE,
}  # fmt: skip
FLUX_1: Folders = {
    "transformer": parts.FLUX_TRANSFORMER, "vae": parts.FLUX_VAE, "scheduler": parts.FLUX_SCHEDULER,
    "text_encoder": parts.CLIP_VIT_L_14, "text_encoder_2": parts.T5_XXL,
}  # fmt: skip
BASES: dict[str, Folders] = {
    "CompVis/stable-diffusion-v1-4": STABLE_DIFFUSION_1,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": STABLE_DIFFUSION_1,
    "stabilityai/stable-diffusion-2-1": STABLE_DIFFUSION_2,
    "stabilityai/stable-diffusion-xl-base-1.0": stability.SDXL,
    "stabilityai/stable-diffusion-3.5-medium": stability.SD_35_MEDIUM,
    "stabilityai/stable-diffusion-3.5-large": stability.SD_35_LARGE,
    "black-forest-labs/FLUX.1-dev": FLUX_1,
    "black-forest-labs/FLUX.2-klein-base-4B": qwen3.KLEIN,
    "Tongyi-MAI/Z-Image": qwen3.Z_IMAGE,
    "Qwen/Qwen-Image": qwen_image.QWEN_IMAGE,
    "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers": sana.SANA,
}
ALONE: dict[str, dict[str, Any]] = {  # a component without a pipeline around it
    "stabilityai/sd-vae-ft-ema": parts.SD_VAE,
    "openai/clip-vit-base-patch32": parts.CLIP_VIT_B_32,
}


def write_base(directory: Path, pipeline: str, folders: Folders) -> str:
    """The small files of a published pipeline, as far as a dry run reads them."""
    for folder, config in folders.items():
        if folder:
            name = "scheduler_config.json" if folder == "scheduler" else "config.json"
            (directory / folder).mkdir(parents=True)
            (directory / folder / name).write_text(json.dumps(config))
    parts = {folder: ["diffusers", "x"] for folder in folders if folder}
    (directory / "model_index.json").write_text(json.dumps({"_class_name": pipeline} | parts | folders.get("", {})))
    return str(directory)


def write_alone(directory: Path, config: dict[str, Any]) -> str:
    """The config of a component that is a repository of its own."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    return str(directory)
