"""OpenAI's GLIDE checkpoints (`base.pt`, `upsample.pt`, and fine-tuned ones of the same form) as dermray's weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from dermray import weights_file
from dermray.generators.glide import Glide, GlideConfig
from dermray.generators.glide_models import PUBLISHED, STAGES, Sizes, Stage
from dermray.generators.glide_tokenizer import read_tokenizer

SOURCE = "https://openaipublic.blob.core.windows.net/diffusion/dec-2021/"
PUBLISHED_FILES = {"base": "base.pt", "upsampler": "upsample.pt"}
# A checkpoint is told by the channels that its first layer takes.
KINDS = {3: "the base", 6: "the upsampler", 7: "the inpainting base", 10: "the inpainting upsampler"}
FIRST = "input_blocks.0.0.weight"
RESIDUAL = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
ATTENTION = {
    "norm": "group_norm",
    "qkv": "to_q to_k to_v",
    "encoder_kv": "add_k_proj add_v_proj",
    "proj_out": "to_out.0",
}
TEXT = {
    "ln_1": "norm1", "attn.c_qkv": "qkv", "attn.c_proj": "out", "ln_2": "norm2", "mlp.c_fc": "mlp.0",
    "mlp.c_proj": "mlp.2",
}  # fmt: skip


def import_glide(files: dict[str, Path], tokenizer: Path, output: Path, sizes: dict[str, Sizes] = PUBLISHED) -> Path:
    """A directory for `model.base` and for `Glide.load`, out of OpenAI's files.

    Args:
        files: checkpoints by stage. tokenizer: directory of encoder.json and vocab.bpe. sizes: of the stages.

    Raises:
        FileNotFoundError, ValueError: a file is missing, damaged, or another one than is expected; `output` exists.
    """
    if output.exists():
        raise ValueError(f"{output}: exists; choose another directory")
    words = read_tokenizer(tokenizer, sizes["base"].words, sizes["base"].context)  # first: it takes no time
    stages = [read_stage(files[name], name, sizes[name]) for name in STAGES]
    config = GlideConfig(base="openai/glide-text2im", image_size=sizes["upsampler"].side, base_size=sizes["base"].side)
    unfinished = output.with_name(f"{output.name}.unfinished")
    Glide(config, stages[0], stages[1], words).save(unfinished)
    return unfinished.rename(output)


def read_stage(file: Path, name: str, sizes: Sizes) -> Stage:
    """A stage with the weights of a published checkpoint, in single precision.

    Args:
        name: base or upsampler.

    Raises:
        FileNotFoundError: no such file. ValueError: damaged, of the other stage, or of another network.
    """
    state = _read(file, name)
    _check_kind(file, state, name, sizes)
    with torch.device("meta"):
        stage = Stage.build(sizes, sizes.words - 1)
    parts = {"unet": stage.unet, "text": stage.text}
    wanted = {f"{part}.{name}": t.shape for part, model in parts.items() for name, t in model.state_dict().items()}
    made = _converted(file, state, wanted, sizes)
    for part, model in parts.items():
        own = {name.removeprefix(f"{part}."): made[name] for name in made if name.startswith(f"{part}.")}
        model.load_state_dict(own, assign=True)
    return stage


def _read(file: Path, name: str) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; OpenAI's is {SOURCE}{PUBLISHED_FILES[name]}")
    state = weights_file.load_pickled(file, str(file))
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{file}: expected tensors by name, as in OpenAI's {PUBLISHED_FILES[name]}")
    if broken := [key for key, value in state.items() if not value.isfinite().all()]:
        raise ValueError(f"{file}: {broken[0]} holds values that are no numbers; copy it again")
    return state


def _check_kind(file: Path, state: dict[str, Tensor], name: str, sizes: Sizes) -> None:
    if FIRST not in state or state[FIRST].ndim != 4:
        raise ValueError(f"{file}: no GLIDE, it has no convolution {FIRST}; expected OpenAI's {PUBLISHED_FILES[name]}")
    if (channels := state[FIRST].shape[1]) != sizes.channels_in:
        kind = KINDS.get(channels, "another network")
        raise ValueError(
            f"{file}: this is {kind} of GLIDE (its first layer takes {channels} channels), expected "
            f"{KINDS[sizes.channels_in]} ({sizes.channels_in}), OpenAI's {PUBLISHED_FILES[name]}"
        )


def _converted(file: Path, state: dict[str, Tensor], wanted: dict[str, torch.Size], sizes: Sizes) -> dict[str, Tensor]:
    """A tensor of every shape that is wanted, with every tensor of `state` used."""
    left, made = dict(state), dict[str, Tensor]()
    for theirs, ours, heads in _places(sizes):
        for kind in ("weight", "bias"):
            if (found := left.pop(f"{theirs}.{kind}", None)) is not None:
                names = [f"{name}.{kind}" for name in ours.split()]
                made |= zip(names, _apart(found, len(names), heads), strict=True)
    for name in ("positional_embedding", "padding_embedding"):
        if name in left:
            made[f"text.{name}"] = left.pop(name)
    if missing := sorted(wanted.keys() - made.keys()):
        raise ValueError(f"{file}: {len(missing)} tensors of GLIDE's are missing, for example {missing[0]}")
    if left:
        raise ValueError(f"{file}: {len(left)} tensors are none of GLIDE's, for example {min(left)}")
    for name, tensor in made.items():
        if tensor.ndim == 3:
            made[name] = tensor = tensor.squeeze(-1)  # their attention has convolutions of length 1
        if tensor.shape != wanted[name]:
            raise ValueError(
                f"{file}: a GLIDE of other sizes, {name} has shape {tuple(tensor.shape)}, expected "
                f"{tuple(wanted[name])}"
            )
    return {name: tensor.float().contiguous() for name, tensor in made.items()}


def _apart(tensor: Tensor, parts: int, heads: int) -> list[Tensor]:
    """Query, key and value out of rows that are interleaved by head, (heads x parts x width, ...)."""
    if parts == 1 or len(tensor) % (heads * parts):
        return [tensor] * parts
    split = tensor.unflatten(0, (heads, parts, -1))
    return [split[:, part].flatten(0, 1) for part in range(parts)]


def _places(sizes: Sizes) -> Iterator[tuple[str, str, int]]:
    """(their layer, ours, heads) of a stage; several names of ours where theirs is one layer."""
    yield from _text_places(sizes.text_layers)
    yield "time_embed.0", "unet.time_embedding.linear_1", 1
    yield "time_embed.2", "unet.time_embedding.linear_2", 1
    yield "transformer_proj", "unet.class_embedding", 1
    yield "input_blocks.0.0", "unet.conv_in", 1
    yield "out.0", "unet.conv_norm_out", 1
    yield "out.2", "unet.conv_out", 1
    for theirs, ours, width in _blocks(sizes):
        attention = ".attentions." in ours
        for their, our in (ATTENTION if attention else RESIDUAL).items():
            names = " ".join(f"unet.{ours}.{name}" for name in our.split())
            yield f"{theirs}.{their}", names, width // sizes.head_width if attention else 1


def _text_places(layers: int) -> Iterator[tuple[str, str, int]]:
    yield "token_embedding", "text.token_embedding", 1
    yield "final_ln", "text.final_norm", 1
    for layer in range(layers):
        for theirs, ours in TEXT.items():
            yield f"transformer.resblocks.{layer}.{theirs}", f"text.blocks.{layer}.{ours}", 1


def _blocks(sizes: Sizes) -> Iterator[tuple[str, str, int]]:
    """(their block, ours, its channels): they count the blocks of all levels on, diffusers counts in each level."""
    coarsest = len(sizes.multipliers) - 1
    widths = [sizes.channels * multiplier for multiplier in sizes.multipliers]
    number = 1  # input block 0 is the first convolution
    for level, width in enumerate(widths):
        for block in range(sizes.residual_blocks):
            yield f"input_blocks.{number}.0", f"down_blocks.{level}.resnets.{block}", width
            if sizes.attention[level]:
                yield f"input_blocks.{number}.1", f"down_blocks.{level}.attentions.{block}", width
            number += 1
        if level < coarsest:
            yield f"input_blocks.{number}.0", f"down_blocks.{level}.downsamplers.0", width
            number += 1
    yield "middle_block.0", "mid_block.resnets.0", widths[-1]
    yield "middle_block.1", "mid_block.attentions.0", widths[-1]
    yield "middle_block.2", "mid_block.resnets.1", widths[-1]
    number = 0
    for up, level in enumerate(reversed(range(len(widths)))):
        for block in range(sizes.residual_blocks + 1):
            yield f"output_blocks.{number}.0", f"up_blocks.{up}.resnets.{block}", widths[level]
            if sizes.attention[level]:
                yield f"output_blocks.{number}.1", f"up_blocks.{up}.attentions.{block}", widths[level]
            if level and block == sizes.residual_blocks:
                last = 2 if sizes.attention[level] else 1
                yield f"output_blocks.{number}.{last}", f"up_blocks.{up}.upsamplers.0", widths[level]
            number += 1
