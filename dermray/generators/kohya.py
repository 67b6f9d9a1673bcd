"""LoRA files as kohya's scripts, ComfyUI and A1111 name and shape them: `lora_unet_<layer>.lora_down.weight` and so on.

FLUX's original layers hold several of diffusers' in one (q, k and v; in single blocks the feed-forward's first too). An
adapter of such a layer is written as A's on top of one another and B's on the diagonal, at as many times the rank and
alpha, which is the same matrix, and read back part by part. An adapter that others trained on the whole layer is read
as one A for all its parts.
"""

import re
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from dermray.generators.adapter_file import Layer
from dermray.generators.lycoris import dora_scale, is_dora, is_lokr, lokr_to_lycoris

Weights = dict[str, Tensor]  # peft's names: <module>.lora_A.weight (r, in) and <module>.lora_B.weight (out, r)

DOUBLE = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn_proj": ("attn.to_out.0",),
    "txt_attn_proj": ("attn.to_add_out",),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
    "img_mod_lin": ("norm1.linear",),
    "txt_mod_lin": ("norm1_context.linear",),
}
SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm.linear",),
}
OTHER = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in_in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in_out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in_in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in_out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in_in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in_out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer_linear": "proj_out",
    "final_layer_adaLN_modulation_1": "norm_out.linear",
}
Tables = tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]  # of double blocks and single ones
FLUX_1: Tables = DOUBLE, SINGLE
FLUX_2: Tables = (
    DOUBLE
    | {
        f"{kind}_mlp_{number}": (f"{module}.{layer}",)
        for kind, module in (("img", "ff"), ("txt", "ff_context"))
        for number, layer in ((0, "linear_in"), (2, "linear_out"))
    },
    {"linear1": ("attn.to_qkv_mlp_proj",), "linear2": ("attn.to_out",)},
)
CLIPS = {"text_encoder": ("text_encoder.", "lora_te_", "lora_te1_"), "text_encoder_2": ("text_encoder_2.", "lora_te2_")}
SPELLINGS = {  # how names of a Stable Diffusion's layers begin in diffusers' and kohya's files
    "unet": ("unet.", "lora_unet_"),
    **{clip: tuple(p + inner for p in prefixes for inner in ("", "text_model.")) for clip, prefixes in CLIPS.items()},
}
SWAPPED = "norm_out.linear"  # the original has shift before scale, diffusers scale before shift


def flux_to_kohya(weights: Weights, alpha: float, tables: Tables = FLUX_1) -> Weights:
    """Adapters of diffusers' FLUX transformer as kohya names them."""
    state: Weights = {}
    for name, modules in _layers(_modules(weights), tables).items():
        own = [m for m in modules if f"{m}.lora_A.weight" in weights]
        down = torch.cat([weights[f"{m}.lora_A.weight"] for m in own])
        up = down.new_zeros(sum(_rows(m, weights, down.shape[1]) for m in modules), len(down))
        row = column = 0
        for module in modules:
            if module in own:
                part = weights[f"{module}.lora_B.weight"]
                up[row : row + len(part), column : column + part.shape[1]] = _swap(part, module)
                column += part.shape[1]
            row += _rows(module, weights, down.shape[1])
        state |= _named(f"lora_unet_{name}", down, up, alpha * len(own))
    return state


def flux_place(
    adapted: Collection[str], rank: int | None, tables: Tables = FLUX_1
) -> Callable[[str, Layer], dict[str, Layer]]:
    """Where layers of files for FLUX belong in a transformer whose modules `adapted` have adapters of `rank`.

    Where `rank` is None they are those that may have one, and the file says which do: those for which it has more than
    zeros.

    Files of diffusers, AI-toolkit and OneTrainer name the modules (`transformer.`, `lora_transformer_`); those of kohya
    and ComfyUI the original layers (`lora_unet_`, `diffusion_model.`).
    """
    same = _spelled({f"{prefix}{m}": m for prefix in ("transformer.", "lora_transformer_") for m in adapted})
    layers = _layers(sorted(adapted), tables).items()
    original = {f"{prefix}{name}": modules for prefix in ("lora_unet_", "diffusion_model_") for name, modules in layers}

    def place(name: str, layer: Layer) -> dict[str, Layer]:
        key = name.replace(".", "_")
        if key in same:
            return {f"transformer.{same[key]}": layer}
        pieces = _split(name, layer, original[key], adapted, rank) if key in original else {}
        return {f"transformer.{module}": piece for module, piece in pieces.items()}

    return place


def module_place(adapted: Collection[str]) -> Callable[[str, Layer], dict[str, Layer]]:
    """Where layers of files belong that name a transformer's modules as diffusers does."""
    prefixes = ("transformer.", "lora_transformer_", "lora_unet_", "diffusion_model.")
    same = _spelled({f"{prefix}{module}": module for prefix in prefixes for module in adapted})

    def place(name: str, layer: Layer) -> dict[str, Layer]:
        module = same.get(name.replace(".", "_"))
        return {f"transformer.{module}": layer} if module else {}

    return place


def _split(name: str, layer: Layer, modules: list[str], adapted: Collection[str], rank: int | None) -> dict[str, Layer]:
    """An adapter of one of FLUX's original layers as adapters of the modules that it consists of.

    B's zeros do not tell which modules were adapted, a fresh one has nothing else: `adapted` and `rank` do.
    """
    down, up = layer.down, layer.up
    # q, k and v are as wide as the input; what single blocks have after them is four times as wide
    sizes = [len(up)] if len(modules) == 1 else [down.shape[1]] * 3 + [len(up) - 3 * down.shape[1]]
    sizes = sizes[: len(modules)]
    if sum(sizes) != len(up) or min(sizes) < 1:
        raise ValueError(f"{name} has {len(up)} output channels, which are not those of {', '.join(modules)}")
    rows = dict(zip(modules, up.split(sizes), strict=True))
    own = [module for module in modules if module in adapted]
    if rank is None:
        own = [module for module in own if rows[module].any()] or own
    if others := [module for module in modules if module not in adapted and rows[module].any()]:
        raise ValueError(f"{name} adapts {', '.join(others)} too, for which this run has no adapters")
    share = layer.rank // len(own)
    apart = layer.rank != rank and layer.rank % len(own) == 0 and _on_diagonal([rows[m] for m in own], share)
    pieces = {}
    for i, module in enumerate(own):
        part = slice(i * share, (i + 1) * share) if apart else slice(None)
        alpha = layer.alpha / len(own) if apart and layer.alpha is not None else layer.alpha
        pieces[module] = Layer(down[part].contiguous(), _swap(rows[module][:, part], module).contiguous(), alpha)
    return pieces


def unet_to_kohya(weights: Weights, alpha: float, prefix: str, layers: int | None = None, rank: int = 1) -> Weights:
    """Adapters of a U-Net (prefix lora_unet) or of CLIP (lora_te), whose layers kohya names by their path.

    Args:
        layers: of a block, where the U-Net's path is that of its original blocks, as SDXL's. rank: of LoKr.
    """

    def path(module: str) -> str:
        known = prefix == "lora_unet" or module.startswith("text_model.")
        return original_block(module, layers) if known else f"text_model.{module}"

    if is_lokr(weights):
        parts = [(*name.rpartition(".")[::2], weight) for name, weight in weights.items()]
        return lokr_to_lycoris({f"{path(module)}.{part}": w for module, part, w in parts}, alpha, prefix, rank)
    state: Weights = {}
    for module in _modules(weights):
        name = f"{prefix}_{path(module).replace('.', '_')}"
        down, up = (weights[f"{module}.lora_{side}.weight"] for side in "AB")
        state |= _named(name, down, up, alpha)
        if is_dora(weights):
            state |= dora_scale(name, weights[f"{module}.lora_magnitude_vector"])
    return state


def original_block(module: str, layers: int | None) -> str:
    """A module of a U-Net by the row of blocks that its authors count: down_blocks.1.attentions.0 of SDXL, with two
    layers a block, is input_blocks.4.1; what is no transformer of a block, as it is."""
    match = re.fullmatch(r"(down|mid|up)_blocks?\.(?:(\d+)\.)?attentions\.(\d+)\.(.+)", module)
    if match is None or layers is None:
        return module
    side, level, number, rest = match.groups()
    if side == "mid":
        return f"middle_block.1.{rest}"
    row = (layers + 1) * int(level) + int(number)
    return f"input_blocks.{row + 1}.1.{rest}" if side == "down" else f"output_blocks.{row}.1.{rest}"


def unet_place(
    adapted: Mapping[str, Collection[str]], layers: int | None = None
) -> Callable[[str, Layer], dict[str, Layer]]:
    """Where layers of files for Stable Diffusion belong; `adapted` are the modules of unet and text encoders that have
    adapters, `layers` as for `unet_to_kohya`."""
    names: dict[str, str] = {}
    for part, modules in adapted.items():
        for module in modules:
            for spelling in SPELLINGS[part]:
                # CLIP's layers lie below `text_model` in files and older releases of transformers
                path = module.removeprefix("text_model.")
                names |= dict.fromkeys((spelling + path, spelling + original_block(path, layers)), f"{part}.{module}")
    same = _spelled(names)

    def place(name: str, layer: Layer) -> dict[str, Layer]:
        module = same.get(name.replace(".", "_"))
        return {module: layer} if module else {}

    return place


def modules_to_comfy(weights: Weights, alpha: float) -> Weights:
    """Adapters by diffusers' names of their layers, which ComfyUI knows of some models."""
    named = {f"diffusion_model.{name}": value for name, value in weights.items()}
    return named | {f"diffusion_model.{module}.alpha": torch.tensor(float(alpha)) for module in _modules(weights)}


def _spelled(names: dict[str, str]) -> dict[str, str]:
    """Names of layers as all files are compared: some have dots where others have underscores."""
    return {spelling.replace(".", "_"): module for spelling, module in names.items()}


def _named(name: str, down: Tensor, up: Tensor, alpha: float) -> Weights:
    return {f"{name}.lora_down.weight": down.contiguous(), f"{name}.lora_up.weight": up.contiguous(),
            f"{name}.alpha": torch.tensor(float(alpha))}  # fmt: skip


def _modules(weights: Weights) -> list[str]:
    return sorted({name.removesuffix(".lora_A.weight") for name in weights if name.endswith(".lora_A.weight")})


def _layers(modules: list[str], tables: Tables) -> dict[str, list[str]]:
    """kohya's layers that hold these modules, each with all the modules that it consists of."""
    layers: dict[str, list[str]] = {}
    for module in modules:
        match = re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.(.+)", module)
        if match is None:
            name = next(name for name, other in OTHER.items() if other == module)
            layers[name] = [module]
            continue
        single, number, rest = match.groups()
        table = tables[1] if single else tables[0]
        name = next(name for name, parts in table.items() if rest in parts)
        block = f"{single or ''}transformer_blocks.{number}"
        layers[f"{'single' if single else 'double'}_blocks_{number}_{name}"] = [f"{block}.{p}" for p in table[name]]
    return layers


def _rows(module: str, weights: Weights, width: int) -> int:
    """Output channels of a module, adapted or not."""
    part = weights.get(f"{module}.lora_B.weight")
    if part is not None:
        return len(part)
    return 4 * width if module.endswith("proj_mlp") else width


def _on_diagonal(parts: list[Tensor], rank: int) -> bool:
    """Whether each part uses only columns of its own."""
    for i, part in enumerate(parts):
        others = part.clone()
        others[:, i * rank : (i + 1) * rank] = 0
        if others.any():
            return False
    return True


def _swap(up: Tensor, module: str) -> Tensor:
    return torch.cat(up.chunk(2)[::-1]) if module == SWAPPED else up
