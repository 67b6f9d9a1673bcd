"""What of a model is trained: LoRA adapters beside frozen weights, or the weights of some of its parts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from dermray import manifest, storage, weights
from dermray.captioning import adapters
from dermray.vlm.tuning import merged
from dermray.vlm.tuning.base import DTYPES, Base
from dermray.vlm.tuning.parts import linear_layers, part_of_each
from dermray.vlm.tuning.settings import LoraConfig, TuneConfig


def with_adapters(model: Any, base: Base, parts: tuple[str, ...], lora: LoraConfig) -> Any:
    """peft's model around a frozen one, with new fp32 adapters: A random, B zero, so that nothing is changed yet.

    Raises:
        ValueError: see `linear_layers`.
    """
    import peft

    layers = linear_layers(model, parts, lora.targets, "lora.targets")
    settings = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=layers,
        base_model_name_or_path=base.place, revision=base.revision if weights.on_hub(base.place) else None,
    )  # fmt: skip
    return peft.get_peft_model(model, settings)


def going_on(model: Any, adapter: Path) -> Any:
    """peft's model around a frozen one, with an adapter that is trained further."""
    import peft

    return peft.PeftModel.from_pretrained(model, str(adapter), is_trainable=True)


def with_trained_parts(model: Any, parts: tuple[str, ...]) -> Any:
    """A model of which the weights of `parts` are trained, in fp32: steps are too small for bf16 to keep."""
    of = part_of_each(model, [name for name, _ in model.named_parameters()])
    for name, weight in model.named_parameters():
        weight.requires_grad_(of[name] in parts)
        if weight.requires_grad:
            weight.data = weight.data.float()
    return model


def prepared(model: Any, base: Base, config: TuneConfig, adapter: Path | None) -> Any:
    """A model as a config trains it.

    Args:
        adapter: directory of the one to begin with, if not a new one.
    """
    if config.method == "full":
        return with_trained_parts(model, config.parts)
    if adapter is not None:
        return going_on(model, adapter)
    return with_adapters(model, base, config.parts, config.lora)


def save(model: Any, base: Base, directory: Path) -> None:
    """An adapter as peft reads it, or the whole model as transformers does."""
    import peft

    if isinstance(model, peft.PeftModel):
        for settings in model.peft_config.values():
            settings.base_model_name_or_path = base.place  # not where it lay on this node
        model.save_pretrained(str(directory), save_embedding_layers=False)
        written = json.loads((directory / adapters.CONFIG).read_text())
        written["target_modules"] = sorted(written["target_modules"])  # a set: each process has another order
        (directory / adapters.CONFIG).write_text(json.dumps(written, indent=2))
        return
    whole = {name: tensor.to(DTYPES[base.dtype]) if tensor.is_floating_point() else tensor
             for name, tensor in model.state_dict().items()}  # fmt: skip
    model.save_pretrained(directory, state_dict=whole, max_shard_size=merged.SHARD)
    merged.name_for_vllm(model, directory)


def locate_adapter(start_from: str) -> Path:
    """A directory here of the adapter that training begins with: that of a tune-vlm result, a directory, an s3:// URI
    or a hub id.

    Raises:
        FileNotFoundError: nothing is there. ValueError: no adapter, or none of LoRA.
    """
    made = storage.normalise(start_from)
    if storage.exists(storage.join(made, "manifest.json")):
        made = storage.join(manifest.read(made, "tune-vlm").data, "model")
    else:
        made = start_from
    found = Path(weights.locate_adapter(made, "start_from"))
    adapters.read(str(found), "start_from")
    return found


def check_adapter(place: Path, model: Any, base: Base, start_from: str) -> int:
    """Whether an adapter is one of this base. `model` may have no weights.

    Returns:
        How many weights the adapter has.

    Raises:
        ValueError: see `adapters.require_base`; or a result of ours was tuned on other weights.
    """
    if (trained_on := _trained_on(start_from)) and trained_on["base_revision"] != base.revision:
        raise ValueError(
            f"start_from={start_from}: an adapter of another base than {base.name}: it was tuned on "
            f"{trained_on['base']}, whose weights are others; give the base that it was tuned on"
        )
    adapter = replace(adapters.read(str(place), "start_from"), uri=start_from)
    # peft looks for layers by their whole names, and passes over adapters' that it does not find
    adapters.require_base(adapter, base.name, adapters.linear_sizes(model), "start_from", whole_names=True)
    return adapter.weights


def _trained_on(start_from: str) -> dict[str, Any] | None:
    """What the manifest of a tune-vlm result says of its base; None of an adapter that is no result of ours."""
    made = storage.normalise(start_from)
    if not storage.exists(storage.join(made, "manifest.json")):
        return None
    return manifest.read(made, "tune-vlm").manifest.metrics


def trained_and_frozen(model: nn.Module) -> tuple[int, int]:
    """Numbers of weights."""
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, trained in sizes if not trained)
