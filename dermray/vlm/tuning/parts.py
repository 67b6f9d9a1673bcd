"""Which weights of a model are its vision tower's, its language model's, or of the projector between them."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch import nn

from dermray.vlm.tuning.settings import PARTS

# Qwen's projectors lie inside of what it calls its vision tower.
PROJECTORS = re.compile(r"(^|\.)(merger|deepstack_merger_list)(\.|$)")
ATTENTION = re.compile(r"(^|\.)[a-z_]*(attn|attention)[a-z_]*\.")  # self_attn.q_proj, attn.qkv, cross_attn.o_proj


def part_of_each(model: Any, names: Iterable[str]) -> dict[str, str]:
    """The part that each module or weight of a transformers model belongs to, one of PARTS.

    transformers says which child encodes images (`get_encoder`) and which decodes (`get_decoder`); the output layer is
    the language model's, and what is neither leads from one to the other.

    Raises:
        ValueError: it does not say.
    """
    of = {id(module): name for name, module in model.named_modules()}
    eyes, words = model.get_encoder("image"), model.get_decoder()
    if not of.get(id(eyes)) or not of.get(id(words)) or eyes is words:
        raise ValueError(
            f"{type(model).__name__}: transformers does not say which of its parts sees and which speaks (get_encoder, "
            "get_decoder); expected a model with a vision tower and a language model"
        )
    sees, speaks = of[id(eyes)], [of[id(words)], of.get(id(model.get_output_embeddings()), "lm_head")]
    return {name: _part(name, sees, speaks) for name in names}


def _part(name: str, sees: str, speaks: list[str]) -> str:
    below = lambda prefix: name == prefix or name.startswith(f"{prefix}.")  # noqa: E731
    if PROJECTORS.search(name):
        return "projector"
    if below(sees):
        return "vision_tower"
    return "language_model" if any(map(below, speaks)) else "projector"


def linear_layers(model: Any, parts: Iterable[str], targets: str | tuple[str, ...], field: str) -> list[str]:
    """Names of the layers of `parts` that get an adapter, in the model's order. The output layer never does.

    Args:
        targets: linear, attention, or ends of names. field: of the config, for messages.

    Raises:
        ValueError: no layer, or one end that no layer has.
    """
    outputs = model.get_output_embeddings()
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not outputs]
    of = part_of_each(model, layers)
    wanted = set(parts)
    mine = [name for name in layers if of[name] in wanted]
    if not mine:
        raise ValueError(f"parts={sorted(wanted)}: {type(model).__name__} has no linear layer there; name another part")
    if targets == "linear":
        return mine
    if targets == "attention":
        found = [name for name in mine if ATTENTION.search(name)]
        if not found:
            raise ValueError(f"{field}=attention: no attention layer in {sorted(wanted)}; name ends: {_ends(mine)}")
        return found
    assert not isinstance(targets, str)
    for end in targets:
        if not any(_ends_with(name, end) for name in mine):
            raise ValueError(f"{field}: no linear layer of {sorted(wanted)} ends with {end!r}; there are {_ends(mine)}")
    return [name for name in mine if any(_ends_with(name, end) for end in targets)]


def _ends_with(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _ends(names: list[str]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in names})


def counts(model: Any) -> dict[str, int]:
    """Weights of each part."""
    found = Counter[str]()
    weights = dict(model.named_parameters())
    for name, part in part_of_each(model, weights).items():
        found[part] += weights[name].numel()
    return {part: found[part] for part in PARTS}
