"""Adapters merged into their base: a model that needs neither, for transformers and vLLM alike."""

import json
import tempfile
from pathlib import Path
from typing import Any

from dermray import node_cache, storage, weights
from dermray.captioning import adapters
from dermray.manifest import Result
from dermray.weights_file import read_header

MERGED = (
    "\n**Merged**: here the adapter is a part of the weights. Load this directory as a whole model of transformers.\n"
)
SHARD = "5GB"  # the largest file written, and about what renaming holds at a time
# Vision towers named `vision_tower.vision_model.*` in vLLM 0.29 and in files of earlier transformers; transformers 5
# writes `vision_tower.*`, and reads both.
TOWERS = ("clip_vision_model", "siglip_vision_model")


def merge(base: str, adapter: Path, directory: Path, revision: str | None = None) -> None:
    """Write base and adapter as one model, by peft's own arithmetic, in the base's precision.

    The whole base is held in this process's memory.

    Args:
        base: directory of transformers on this node, or a hub id. adapter: peft's directory, with the processor's files
            or without. directory: must not be there.
    """
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(base, revision=revision, dtype="auto")
    whole = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    own = (adapter / "tokenizer_config.json").is_file()
    write(
        whole,
        AutoProcessor.from_pretrained(str(adapter) if own else base, revision=None if own else revision),
        directory,
    )


def write(model: Any, processor: Any, directory: Path) -> None:
    """A transformers directory whose weights have names that vLLM reads too.

    Args:
        model: of transformers. processor: tokenizer, image processor and chat template.
    """
    model.save_pretrained(directory, max_shard_size=SHARD)
    processor.save_pretrained(directory)
    name_for_vllm(model, directory)


def name_for_vllm(model: Any, directory: Path) -> None:
    """Rename a saved model's weights so that vLLM finds them, where transformers finds them by both names."""
    if getattr(getattr(model.config, "vision_config", None), "model_type", None) not in TOWERS:
        return
    from safetensors.torch import load_file, save_file

    from dermray.vlm.nano import vllm_name

    for file in sorted(directory.glob("*.safetensors")):
        if any(vllm_name(name) != name for name in read_header(str(file), file.name)):
            save_file({vllm_name(name): tensor for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        told = json.loads(index.read_text())
        told["weight_map"] = {vllm_name(name): file for name, file in told["weight_map"].items()}
        index.write_text(json.dumps(told, indent=1))


def beside(data: str) -> str | None:
    """Of a tuned model whose adapter vLLM cannot serve, the merged one too: `<data>/merged` beside `<data>/model`.

    Where the merged model is whole already, nothing is done. To be called where the base fits into memory.

    Args:
        data: URI of the tune-vlm stage's data.

    Returns:
        Why it was merged; None where there is no adapter, or one that vLLM serves.
    """
    model, target = storage.join(data, "model"), storage.join(data, "merged")
    if not storage.exists(storage.join(model, adapters.CONFIG)):
        return None
    adapter = adapters.read(model, "the tuned adapter")
    base, revision = _base(adapter)
    config = adapters.config_of(weights.locate_small(base, "base"), revision)
    reason = adapters.unserved(adapter, str(config["model_type"]))
    if reason and not storage.exists(storage.join(target, "config.json")):
        _merge_to(adapter, target)
    return reason


def _base(adapter: adapters.Adapter) -> tuple[str, str | None]:
    """Where transformers finds the base, and a hub id's revision."""
    if adapter.base is None:
        raise ValueError(f"{adapter.uri}: its {adapters.CONFIG} names no base model")
    return weights.everywhere(adapter.base, f"{adapter.uri}: base"), adapter.settings.get("revision")


def _merge_to(adapter: adapters.Adapter, target: str) -> None:
    """Its directory in S3 or here, config.json last: one with that is whole."""
    base, revision = _base(adapter)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch, "merged")
        merge(weights.locate(base, "base"), node_cache.local_copy(adapter.uri), directory, revision)
        config = (directory / "config.json").read_bytes()
        (directory / "config.json").unlink()
        storage.copy_directory(str(directory), target)
        storage.write_bytes(storage.join(target, "config.json"), config)


def export(result: Result, place: str) -> str:
    """A tuned model as one directory for vLLM and transformers; what to tell of it.

    Args:
        result: of the tune-vlm stage. place: new directory or s3:// URI.

    Raises:
        ValueError: something is there. FileNotFoundError: the base is gone.
    """
    target = storage.normalise(place)
    if storage.exists(target):
        raise ValueError(f"{place}: exists; choose another directory")
    model, merged = storage.join(result.data, "model"), storage.join(result.data, "merged")
    whole = next((place for place in (merged, model) if storage.exists(storage.join(place, "config.json"))), None)
    if whole:
        storage.copy_directory(whole, target)
    else:
        _merge_to(adapters.read(model, result.uri), target)
    if whole != model:
        _write_card(model, target)
    return f"{target}: the tuned model, whole"


def _write_card(model: str, target: str) -> None:
    """The card of an adapter, with its licences, for the model that it is merged into."""
    card = storage.join(model, "README.md")
    if storage.exists(card):
        storage.write_bytes(storage.join(target, "README.md"), storage.read_bytes(card) + MERGED.encode())
