"""Stable Diffusion in miniature, saved with the classes and files that its published repositories have."""

import json
import re
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel

WIDTH = 32


def published(directory: Path, version: str = "1.4", variant: str | None = None) -> str:
    """A pipeline's folder as CompVis/stable-diffusion-v1-4 or stabilityai/stable-diffusion-2-1 has it, in safetensors
    alone. The checker of 1.4 flags every image."""
    torch.manual_seed(int(float(version) * 10))
    words = tokenizer("<|endoftext|>" if version == "1.4" else "!")
    noise: dict[str, Any] = {
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
        "set_alpha_to_one": False,
    }  # fmt: skip
    if version == "1.4":
        scheduler: Any = diffusers.PNDMScheduler(skip_prk_steps=True, **noise)
        unet: dict[str, Any] = {"attention_head_dim": 4}
        act = "quick_gelu"
    else:
        scheduler = diffusers.DDIMScheduler(clip_sample=False, prediction_type="v_prediction", **noise)
        unet = {"attention_head_dim": [2, 4, 4, 4], "use_linear_projection": True, "upcast_attention": True}
        act = "gelu"
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae(), text_encoder=text(words, act), tokenizer=words, unet=_unet(**unet), scheduler=scheduler,
        safety_checker=_checker() if version == "1.4" else None,
        feature_extractor=transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32),
        requires_safety_checker=version == "1.4",
    )  # fmt: skip
    if variant == "fp16":
        pipeline.to(torch.float16)
    pipeline.save_pretrained(directory, safe_serialization=True, variant=variant)
    for part in ("vae", "text_encoder", "tokenizer"):
        as_published(directory / part)
    return str(directory)


def single_file(folder: str, file: Path) -> str:
    """All weights of a pipeline's folder by the names of its authors' code."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    state = {f"model.diffusion_model.{_unet_name(name)}": value for name, value in pipeline.unet.state_dict().items()}
    for name, value in pipeline.vae.state_dict().items():
        attention = "attentions" in name and value.ndim == 2  # which are convolutions of one pixel there
        state[f"first_stage_model.{_vae_name(name)}"] = value[:, :, None, None] if attention else value
    for name, value in pipeline.text_encoder.state_dict().items():
        state[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    state = {name: value.contiguous() for name, value in state.items()}
    if file.suffix == ".ckpt":
        torch.save({"state_dict": state}, file)
    else:
        save_file(state, file)
    return str(file)


def tokenizer(pad: str) -> transformers.CLIPTokenizer:
    """Letters, and one pair of them."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "re", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[("r", "e")], pad_token=pad, model_max_length=77)


def text_config(words: transformers.CLIPTokenizer, act: str = "quick_gelu") -> transformers.CLIPTextConfig:
    """CLIP's text tower."""
    return transformers.CLIPTextConfig(
        vocab_size=len(words), hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        projection_dim=WIDTH, hidden_act=act, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
        pad_token_id=1,
    )  # fmt: skip


def text(words: transformers.CLIPTokenizer, act: str = "quick_gelu") -> transformers.CLIPTextModel:
    """The same with random weights."""
    return transformers.CLIPTextModel(text_config(words, act))


def vae(**options: Any) -> diffusers.AutoencoderKL:
    """An autoencoder at an eighth of the side."""
    sizes = {"block_out_channels": (8, 8, 8, 8), "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 4}
    return diffusers.AutoencoderKL(
        sample_size=64, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        **(sizes | options),
    )  # fmt: skip


def as_published(folder: Path) -> None:
    """An autoencoder, text encoder or tokenizer as libraries of its day saved it: other names of tensors, the
    positions of tokens beside them, the byte-pair list in two files."""
    for file in folder.glob("*.safetensors"):
        state = {_of_its_day(name): value for name, value in load_file(file).items()}
        if any(name.startswith("text_model.") for name in state):
            state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        save_file(state, file, {"format": "pt"})
    if (file := folder / "tokenizer.json").exists():
        model = json.loads(file.read_text())["model"]
        pairs = [" ".join(pair) for pair in model["merges"]]
        (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]))
        file.unlink()


def _unet(**options: Any) -> diffusers.UNet2DConditionModel:
    return diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16, 16, 16), layers_per_block=2, norm_num_groups=4,
        cross_attention_dim=WIDTH, down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, **options,
    )  # fmt: skip


def _checker() -> StableDiffusionSafetyChecker:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = sizes | {"image_size": 32, "patch_size": 16, "projection_dim": 16}
    checker = StableDiffusionSafetyChecker(transformers.CLIPConfig(vision_config=vision, projection_dim=16))
    checker.concept_embeds_weights.data.fill_(-10)  # thresholds that all similarities exceed
    return checker


UNET_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def _of_its_day(name: str) -> str:
    if name.startswith(("embeddings.", "encoder.layers.", "final_layer_norm.")):
        return f"text_model.{name}"
    for now, then in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        name = name.replace(f"attentions.0.{now}.", f"attentions.0.{then}.")
    return name


def _unet_name(name: str) -> str:
    """Blocks of a level stand in one row there: two of them and what changes the size, or three."""
    if name in DIFFUSERS_TO_LDM_MAPPING["unet"]["layers"]:
        return str(DIFFUSERS_TO_LDM_MAPPING["unet"]["layers"][name])
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        kind, number, rest = match.groups()
        return f"middle_block.{1 if kind == 'attentions' else 2 * int(number)}.{_resnet(rest, kind)}"
    match = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name)
    assert match, name
    side, level, kind, number, rest = match.groups()
    first = 3 * int(level) + (side == "down")
    if kind == "downsamplers":
        return f"input_blocks.{first + 2}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{first + 2}.{1 if level == '0' else 2}.{rest}"
    row = "input_blocks" if side == "down" else "output_blocks"
    return f"{row}.{first + int(number)}.{int(kind == 'attentions')}.{_resnet(rest, kind)}"


def _resnet(rest: str, kind: str) -> str:
    part, _, end = rest.partition(".")
    return f"{UNET_RESNET[part]}.{end}" if kind == "resnets" else rest


def _vae_name(name: str) -> str:
    """Levels of the decoder are counted from the image there."""
    name = re.sub(r"up_blocks\.(\d)", lambda match: f"up.{3 - int(match[1])}", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", name)
    for ours, theirs in VAE_ATTENTION.items():
        name = name.replace(f"attentions.0.{ours}.", f"attentions.0.{theirs}.")
    for ours, theirs in {
        "mid_block.attentions.0": "mid.attn_1", "down_blocks.": "down.", ".resnets.": ".block.",
        "downsamplers.0": "downsample", "upsamplers.0": "upsample", "conv_shortcut": "nin_shortcut",
        "conv_norm_out": "norm_out",
    }.items():  # fmt: skip
        name = name.replace(ours, theirs)
    return name
