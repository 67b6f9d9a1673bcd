"""LoRA files as kohya's scripts, ComfyUI and A1111 name and shape them: `lora_unet_<layer>.lora_down.weight` and so on.

FLUX's original layers hold several of diffusers' in one (q, k and v; in single blocks the feed-forward's first too). An
adapter of such a layer is written as A's on top of one another and B's on the diagonal, at as many times the rank and
alpha, which is the same matrix, and read back part by part. An adapter that others trained on the whole layer is read
as one A for all its parts.
"""

import re
from collections.abc import Iterable

import torch
from torch import Tensor

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
SWAPPED = "norm_out.linear"  # the original has shift before scale, diffusers scale before shift


def flux_to_kohya(weights: Weights, alpha: float) -> Weights:
    """Adapters of diffusers' FLUX transformer as kohya names them."""
    found: Weights = {}
    for name, modules in _layers(_modules(weights)).items():
        here = [m for m in modules if f"{m}.lora_A.weight" in weights]
        downs = [weights[f"{m}.lora_A.weight"] for m in here]
        down = torch.cat(downs)
        up = down.new_zeros(sum(_rows(m, weights, down.shape[1]) for m in modules), len(down))
        row = column = 0
        for module in modules:
            if module in here:
                part = weights[f"{module}.lora_B.weight"]
                up[row : row + len(part), column : column + part.shape[1]] = _swap(part, module)
                column += part.shape[1]
            row += _rows(module, weights, down.shape[1])
        found |= _named(f"lora_unet_{name}", down, up, alpha * len(here))
    return found


def flux_from_kohya(state: Weights) -> tuple[Weights, float]:
    """What `flux_to_kohya` or kohya's FLUX scripts wrote: peft's weights and alpha.

    Raises:
        ValueError: a layer that FLUX's transformer does not have, or alphas that differ.
    """
    weights: Weights = {}
    alphas = set()
    for name in sorted({key.partition(".")[0] for key in state}):
        modules = _modules_of(name.removeprefix("lora_unet_"))
        down, up = state[f"{name}.lora_down.weight"], state[f"{name}.lora_up.weight"]
        alpha = float(state.get(f"{name}.alpha", torch.tensor(float(len(down)))))
        sizes = [len(up)] if len(modules) == 1 else [down.shape[1]] * 3 + [len(up) - 3 * down.shape[1]]
        rows = dict(zip(modules, up.split(sizes[: len(modules)]), strict=True))
        here = [module for module in modules if rows[module].any()] or list(modules)
        rank = len(down) // len(here)
        apart = len(down) % len(here) == 0 and _on_diagonal([rows[m] for m in here], rank)
        for i, module in enumerate(here):
            part = slice(i * rank, (i + 1) * rank) if apart else slice(None)
            weights[f"{module}.lora_A.weight"] = down[part].contiguous()
            weights[f"{module}.lora_B.weight"] = _swap(rows[module][:, part], module).contiguous()
            alphas.add(alpha / len(here) if apart else alpha)
    if len(alphas) != 1:
        raise ValueError(f"kohya file: layers of several alphas {sorted(alphas)}; expected one")
    return weights, alphas.pop()


def unet_to_kohya(weights: Weights, alpha: float, prefix: str) -> Weights:
    """Adapters of a U-Net (prefix lora_unet) or of CLIP (lora_te), whose layers kohya names by their path."""
    found: Weights = {}
    for module in _modules(weights):
        path = module if prefix == "lora_unet" or module.startswith("text_model.") else f"text_model.{module}"
        down, up = (weights[f"{module}.lora_{side}.weight"] for side in "AB")
        found |= _named(f"{prefix}_{path.replace('.', '_')}", down, up, alpha)
    return found


def unet_from_kohya(state: Weights, modules: Iterable[str], prefix: str) -> tuple[Weights, float]:
    """Adapters of the model that has `modules`, out of a file that may hold others' too: weights and alpha.

    Raises:
        ValueError: layers that the model does not have, or alphas that differ.
    """
    paths = {f"{prefix}_{m.replace('.', '_')}": m for m in modules}
    paths |= {f"{prefix}_text_model_{m.replace('.', '_')}": m for m in modules}
    weights: Weights = {}
    alphas = set()
    for name in sorted({key.partition(".")[0] for key in state if key.startswith(f"{prefix}_")}):
        if name not in paths:
            raise ValueError(f"kohya file: layer {name}, which this model does not have")
        down = state[f"{name}.lora_down.weight"]
        weights[f"{paths[name]}.lora_A.weight"] = down
        weights[f"{paths[name]}.lora_B.weight"] = state[f"{name}.lora_up.weight"]
        alphas.add(float(state.get(f"{name}.alpha", torch.tensor(float(len(down))))))
    if len(alphas) > 1:
        raise ValueError(f"kohya file: layers of several alphas {sorted(alphas)}; expected one")
    return weights, alphas.pop() if alphas else 0.0


def _named(name: str, down: Tensor, up: Tensor, alpha: float) -> Weights:
    return {f"{name}.lora_down.weight": down.contiguous(), f"{name}.lora_up.weight": up.contiguous(),
            f"{name}.alpha": torch.tensor(float(alpha))}  # fmt: skip


def _modules(weights: Weights) -> list[str]:
    return sorted({name.removesuffix(".lora_A.weight") for name in weights if name.endswith(".lora_A.weight")})


def _layers(modules: list[str]) -> dict[str, list[str]]:
    """kohya's layers that hold these modules, each with all the modules that it consists of."""
    found: dict[str, list[str]] = {}
    for module in modules:
        match = re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.(.+)", module)
        if match is None:
            name = next(name for name, other in OTHER.items() if other == module)
            found[name] = [module]
            continue
        single, number, rest = match.groups()
        table = SINGLE if single else DOUBLE
        name = next(name for name, parts in table.items() if rest in parts)
        block = f"{single or ''}transformer_blocks.{number}"
        found[f"{'single' if single else 'double'}_blocks_{number}_{name}"] = [f"{block}.{p}" for p in table[name]]
    return found


def _modules_of(name: str) -> list[str]:
    """The modules of one of kohya's layers."""
    if name in OTHER:
        return [OTHER[name]]
    match = re.fullmatch(r"(single|double)_blocks_(\d+)_(\w+)", name)
    table = {"single": SINGLE, "double": DOUBLE}.get(match.group(1), {}) if match else {}
    if match is None or match.group(3) not in table:
        raise ValueError(f"kohya file: layer {name!r}, which FLUX's transformer does not have")
    block = f"{'single_' if match.group(1) == 'single' else ''}transformer_blocks.{match.group(2)}"
    return [f"{block}.{part}" for part in table[match.group(3)]]


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
