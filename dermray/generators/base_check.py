"""Whether a base is a pipeline of diffusers' of the right kind and whole: seen without loading its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import diffusers

from dermray import weights_file
from dermray.generators import frozen
from dermray.generators.base import FAMILIES, family

INDEX = "model_index.json"
TOKENIZERS = ("tokenizer.json", "vocab.json", "spiece.model")


def check(
    base: str, revision: str | None, pipeline: str, models: Sequence[str], others: Sequence[str],
    field: str = "model.base", weights_too: bool = True,
) -> None:  # fmt: skip
    """By the pipeline's index, and the names of its files; those of a hub id are the hub's affair.

    Args:
        pipeline: its class in diffusers. models: folders with a config and weights. others: of tokenizers, schedulers.
        field: config's name for the base. weights_too: whether weights are read from there.

    Raises:
        FileNotFoundError: there is nothing of that name. ValueError: another kind of model, or a part is missing.
    """
    if base == frozen.NANO:
        return
    from dermray import storage, weights

    place = weights.everywhere(base, field)
    wanted = f"{field}={base}: expected a {pipeline} in diffusers' format"
    if weights.is_single_file(place):
        raise ValueError(f"{wanted}, got a single file; give the folder that has {INDEX}")
    files = None if weights.on_hub(place) else [file.removeprefix(f"{place}/") for file in storage.list_files(place)]
    if files is not None and INDEX not in files:
        raise ValueError(f"{wanted}, and there is no {INDEX}; give the folder that has it")
    index = (
        diffusers.DiffusionPipeline.load_config(place, revision=revision)
        if files is None
        else read_json(storage.join(place, INDEX), f"{field}={base}: {INDEX}")
    )
    if (kind := index.get("_class_name")) != pipeline:
        raise ValueError(f"{wanted}, got a {kind}; give another base{_or_family(str(kind))}")
    missing = _missing_parts(index, files, (*models, *others))
    if files is not None:
        missing += _missing_files(files, [folder for folder in models if folder not in missing], weights_too)
        tokenizers = [part for part in others if part.startswith("tokenizer") and part not in missing]
        missing += [
            f"{' or '.join(TOKENIZERS)} in {part}"
            for part in tokenizers
            if not any(f"{part}/{name}" in files for name in TOKENIZERS)
        ]
    if missing:
        raise ValueError(f"{wanted}, and it lacks {', '.join(missing)}; copy or download it again, whole")
    if files is not None and weights_too:
        for folder in models:
            for file in loaded([file for file in files if file.startswith(f"{folder}/")]):
                weights_file.check(storage.join(place, file), f"{field}={base}: {file}")


def read_json(uri: str, name: str) -> dict[str, Any]:
    """A small file of a model's.

    Args:
        uri: here or in S3. name: what an error calls it.

    Raises:
        ValueError: it is none, or has no names and values.
    """
    from dermray import storage

    try:
        content = json.loads(storage.read_bytes(uri))
    except ValueError as error:
        raise ValueError(f"{name}: damaged, no JSON ({error}); copy it again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{name}: expected names and values, got a {type(content).__name__}; copy it again")
    return content


def loaded(files: Sequence[str]) -> list[str]:
    """Files of one model's weights that diffusers and transformers would load: safetensors before others, variants
    (model.fp16.safetensors) where there is nothing else."""
    tensors = [file for file in files if file.endswith(".safetensors")]
    tensors = tensors or [file for file in files if file.endswith(weights_file.PICKLED)]
    return [file for file in tensors if file.rpartition("/")[2].count(".") == 1] or tensors


def _or_family(pipeline: str) -> str:
    """The families whose bases are of this class of diffusers'."""
    kinds = {name: getattr(family(name).Pipeline, "__name__", None) for name in FAMILIES}
    names = [name for name, kind in kinds.items() if kind == pipeline]
    return f", or family={' or family='.join(names)}" if names else "; no family here starts from one"


def _missing_parts(index: Mapping[str, Any], files: list[str] | None, parts: Sequence[str]) -> list[str]:
    """Which the index does not name, or whose folder is empty."""
    named = lambda part: (index.get(part) or [None])[0] is not None  # noqa: E731
    there = lambda part: files is None or any(file.startswith(f"{part}/") for file in files)  # noqa: E731
    return [part for part in parts if not (named(part) and there(part))]


def _missing_files(files: list[str], models: Sequence[str], weights_too: bool) -> list[str]:
    """Of models whose folders have something."""
    from dermray import weights

    missing = [f"{folder}/config.json" for folder in models if f"{folder}/config.json" not in files]
    with_weights = {file.partition("/")[0] for file in files if file.endswith(weights.TENSORS)}
    without = [folder for folder in models if folder not in with_weights] if weights_too else []
    return missing + [f"the weights of {folder}" for folder in without]
