"""LoRA, DoRA and LoKr adapters beside a frozen model's layers, by peft."""

import math
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dermray.generators import adapter_file, frozen
from dermray.generators.adapter_file import Layer, counts, some
from dermray.generators.adapter_kind import Kind, peft_config

NAME = "default"
ADAPTER = re.compile(r"\.lo(ra|kr)_")  # between a layer's name and its adapter's part
LORA_FILE = "pytorch_lora_weights.safetensors"  # the name that diffusers looks for
LENGTH = ".lora_magnitude_vector.weight"  # how transformers names DoRA's lengths; peft and diffusers leave weight out
TEXT_ENCODERS = ("lora_te", "text_encoder", "te1", "te2", "te3")  # how their layers' names begin in files
# A file's layer by its name there to the layers that it is of ours, `<prefix>.<module>`; none where it is none of them.
Place = Callable[[str, Layer], dict[str, Layer]]


def add_lora(
    model: nn.Module, targets: str | list[str], rank: int, alpha: float, kind: Kind = "lora", factor: int = 16
) -> nn.Module:
    """Freeze a model and put adapters beside its linear layers, which add nothing at the start.

    LoRA: (W + alpha / rank * B A) x. DoRA: its rows scaled to trained lengths. LoKr: C (x) D in place of B A.

    Args:
        targets: a regular expression of whole module names, or name endings. factor: of LoKr.

    Raises:
        ValueError: no layer of that name.
    """
    from peft import inject_adapter_in_model

    model.requires_grad_(False)
    inject_adapter_in_model(peft_config(kind, targets, rank, alpha, factor), model, NAME)
    for parameter in model.parameters():
        if parameter.requires_grad:  # adapters are trained in full precision beside a base of half
            parameter.data = parameter.data.float()
    return model


def lora_weights(model: nn.Module, name: str = NAME) -> dict[str, Tensor]:
    """An adapter's weights by peft's names."""
    from peft import get_peft_model_state_dict

    weights: dict[str, Tensor] = get_peft_model_state_dict(model, adapter_name=name)
    return {key: value.detach().contiguous() for key, value in weights.items()}


def as_transformers_reads(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """`lora_weights` of a text encoder: into those diffusers loads adapters by transformers, which finds DoRA's lengths
    by the names of its own only, and else begins with those of the base."""
    end = ".lora_magnitude_vector"
    return {n.removesuffix(end) + LENGTH if n.endswith(end) else n: weight for n, weight in weights.items()}


def adapted_modules(model: nn.Module) -> list[str]:
    """Names of the layers that have adapters."""
    return sorted({ADAPTER.split(name)[0] for name in lora_weights(model)})


def put_lora_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Weights that `lora_weights` gave back into their adapter.

    Raises:
        ValueError: they belong to another model or other layers.
    """
    from peft import set_peft_model_state_dict

    expected = {name: tuple(value.shape) for name, value in lora_weights(model).items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    if expected != given:
        wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
        raise ValueError(
            f"adapter of {len(given)} tensors does not fit: expected {len(expected)}; the first that differs is "
            f"{wrong[0]}: {given.get(wrong[0])} here, {expected.get(wrong[0])} in the model"
        )
    set_peft_model_state_dict(model, weights, adapter_name=NAME)


def read_saved(directory: Path) -> dict[str, dict[str, Tensor]]:
    """What `save_lora_weights` of diffusers wrote: weights by peft's names, by part of the pipeline.

    Raises:
        ValueError: the file is damaged.
    """
    file = directory / LORA_FILE
    try:
        tensors, _ = adapter_file.read_tensors(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    parts: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in tensors.items():
        part, _, name = key.partition(".")
        parts[part][name.removesuffix(LENGTH) + ".lora_magnitude_vector" if name.endswith(LENGTH) else name] = value
    return parts


def lora_config(model: nn.Module) -> dict[str, Any]:
    """The adapter's config (rank, alpha, layers), as diffusers writes it into a file's metadata."""
    config: Any = model.peft_config[NAME]  # type: ignore[index]  # put there by peft
    settings = config.to_dict() | {"peft_type": str(config.peft_type.value)}
    return {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}


def without_adapters(model: Any) -> Any:
    """A copy of a model of diffusers or transformers as it was before `add_lora`."""
    make = getattr(type(model), "from_config", type(model))
    bare = make(model.config)
    made, weights = bare.state_dict(), model.state_dict()
    tables = {name: made[name] for name, _ in bare.named_buffers() if name in made}  # `model` may not keep its own
    own = {name.replace(".base_layer.", "."): value for name, value in weights.items() if not ADAPTER.search(name)}
    bare.load_state_dict(tables | own)
    return frozen.in_precision(bare, model.dtype).eval().requires_grad_(False)


def read_start(file: str, parts: dict[str, nn.Module], rank: int, alpha: float, place: Place) -> dict[str, Layer]:
    """A file's adapters by the layers of models that have fresh ones, `<prefix>.<module>`: all of them, or none.

    Args:
        file: safetensors, local or in S3, of any trainer that `place` knows.
        parts: models by their prefix in diffusers' files (transformer, unet, text_encoder), with weights or without.

    Raises:
        FileNotFoundError, ValueError: no such file; one that would not be read whole, or does not fit this run.
    """
    from dermray import node_cache, storage  # not at the top: adapters alone need no storage

    data = node_cache.local_file(storage.normalise(file)).read_bytes()
    try:
        layers = _placed(adapter_file.read_layers(data), parts, place)
        _check_fit(layers, _expected(parts), rank, alpha)
    except ValueError as error:
        raise ValueError(f"model.start_from={file}: {error}") from None
    return layers


def put_layers(parts: dict[str, nn.Module], layers: dict[str, Layer]) -> None:
    """What `read_start` gave into the same models."""
    for prefix, part in parts.items():
        weights: dict[str, Tensor] = {}
        for module in adapted_modules(part):
            layer = layers[f"{prefix}.{module}"]
            weights |= {f"{module}.lora_A.weight": layer.down, f"{module}.lora_B.weight": layer.up}
        put_lora_weights(part, weights)


def _placed(layers: dict[str, Layer], parts: dict[str, nn.Module], place: Place) -> dict[str, Layer]:
    """A file's layers by our names, `<prefix>.<module>`."""
    placed: dict[str, Layer] = {}
    strange = []
    for name, layer in layers.items():
        pieces = place(name, layer)
        if not pieces:
            strange.append(name)
        if twice := placed.keys() & pieces.keys():
            raise ValueError(f"two adapters for {some(twice)}, one of them {name}; expected one for each layer")
        placed |= pieces
    texts = [name for name in strange if name.startswith(TEXT_ENCODERS)]
    if texts and "text_encoder" not in parts:
        raise ValueError(
            f"adapters of a text encoder, which this run does not train: {some(texts)}; only family "
            "stable_diffusion_lora and sdxl_lora can, by model.train_text_encoder=true; else take them out of the "
            "file"
        )
    if strange:
        own = _expected(parts)
        raise ValueError(
            f"layers that this run has no adapters for: {some(strange)}; it has {len(own)}, such as {min(own)}"
        )
    return placed


def _expected(parts: dict[str, nn.Module]) -> dict[str, tuple[int, int]]:
    """(in, out) of the layers that have adapters, by `<prefix>.<module>`."""
    shapes = {}
    for prefix, part in parts.items():
        weights = lora_weights(part)
        for module in adapted_modules(part):
            down, up = (weights[f"{module}.lora_{side}.weight"] for side in "AB")
            shapes[f"{prefix}.{module}"] = (down.shape[1], len(up))
    return shapes


def _check_fit(layers: dict[str, Layer], expected: dict[str, tuple[int, int]], rank: int, alpha: float) -> None:
    if missing := expected.keys() - layers.keys():
        raise ValueError(
            f"no adapters for {len(missing)} of this run's {len(expected)} layers: {some(missing)}; train the layers "
            "that the file has (model.targets, model.train_text_encoder)"
        )
    sizes = {name: (layer.down.shape[1], len(layer.up)) for name, layer in layers.items()}
    if wrong := [name for name in sorted(sizes) if sizes[name] != expected[name]]:
        raise ValueError(
            f"made for another base model: {wrong[0]} has {sizes[wrong[0]]} (in, out) channels in the file and "
            f"{expected[wrong[0]]} in model.base ({len(wrong)} layers differ)"
        )
    ranks = [layer.rank for layer in layers.values()]
    if len(set(ranks)) > 1:
        raise ValueError(f"several ranks ({counts(ranks)}), but this run has one, model.rank={rank}; bring them to one")
    if ranks[0] != rank:
        raise ValueError(f"rank {ranks[0]}, but model.rank={rank}; give model.rank={ranks[0]}")
    # files keep alphas in single precision, and those of several modules at once as their sum
    alphas = [float(f"{rank if layer.alpha is None else layer.alpha:.6g}") for layer in layers.values()]
    if len(set(alphas)) > 1:
        raise ValueError(
            f"several alphas ({counts(alphas)}), but this run has one, model.alpha={alpha:g}; bring them to one"
        )
    if not math.isclose(alphas[0], alpha, rel_tol=1e-5):
        unsaid = " (not in the file: a scale of 1)" if all(layer.alpha is None for layer in layers.values()) else ""
        raise ValueError(f"alpha {alphas[0]:g}{unsaid}, but model.alpha={alpha:g}; give model.alpha={alphas[0]:g}")
