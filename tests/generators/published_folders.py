"""What the papers' presets start from beside Stable Diffusion, in miniature: classes and files as published."""

import json
from pathlib import Path

import diffusers
import torch
import transformers

from tests.generators.stable_diffusion_folders import WIDTH, as_published, text, text_config, tokenizer, vae

EXTRA = 100  # of T5's words are sentinels
SHARD = "110KB"  # in FLUX.1-dev's repository the transformer is in three files, T5 in two


def autoencoder(directory: Path) -> str:
    """stabilityai/sd-vae-ft-ema: one model, without a pipeline around it."""
    torch.manual_seed(1)
    vae().save_pretrained(directory)
    as_published(directory)
    return str(directory)


def clip(directory: Path) -> str:
    """openai/clip-vit-base-patch32: both towers, pickled, and the tokenizer in both of its forms."""
    torch.manual_seed(2)
    words = tokenizer("<|endoftext|>")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = sizes | {"image_size": 32, "patch_size": 16, "projection_dim": WIDTH}
    config = transformers.CLIPConfig(
        text_config=text_config(words).to_dict(), vision_config=vision, projection_dim=WIDTH
    )
    model = transformers.CLIPModel(config)
    positions = {"text_model": 77, "vision_model": 5}
    kept = {f"{tower}.embeddings.position_ids": torch.arange(count)[None] for tower, count in positions.items()}
    words.save_pretrained(directory)
    both = (directory / "tokenizer.json").read_text()
    as_published(directory)
    (directory / "tokenizer.json").write_text(both)
    config.save_pretrained(directory)
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(directory)
    torch.save(model.state_dict() | kept, directory / "pytorch_model.bin")
    return str(directory)


def flux(directory: Path) -> str:
    """black-forest-labs/FLUX.1-dev in bfloat16: large models in several files, all weights in a single file beside."""
    torch.manual_seed(3)
    words, pieces = tokenizer("<|endoftext|>"), _pieces()
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    t5 = transformers.T5Config(
        vocab_size=len(pieces), d_model=WIDTH, d_kv=16, d_ff=1024, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    )  # fmt: skip
    pipeline = diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15
        ),
        vae=vae(
            shift_factor=0.1159, scaling_factor=0.3611, force_upcast=True, use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=text(words), tokenizer=words, text_encoder_2=transformers.T5EncoderModel(t5),
        tokenizer_2=pieces, transformer=transformer,
    )  # fmt: skip
    pipeline.to(torch.bfloat16).save_pretrained(directory, max_shard_size=SHARD)
    for part in ("text_encoder", "tokenizer"):
        as_published(directory / part)
    index = json.loads((directory / "model_index.json").read_text())
    index["tokenizer_2"] = ["transformers", "T5TokenizerFast"]  # its name then
    (directory / "model_index.json").write_text(json.dumps(index, indent=2))
    for single in ("flux1-dev", "ae"):
        (directory / f"{single}.safetensors").write_bytes(b"nobody reads this")
    return str(directory)


def _pieces() -> transformers.T5TokenizerFast:
    """T5's tokenizer: letters, of which text is made up with the space before a word."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), *((letter, -3.0) for letter in letters)]
    return transformers.T5TokenizerFast(vocab=pieces, extra_ids=EXTRA, model_max_length=512)
