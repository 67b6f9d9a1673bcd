"""An adapter that is served, found by its small files: a train stage's result, a directory, a file."""

import json
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from dermray import manifest, storage, weights, weights_file
from dermray.generators import frozen
from dermray.generators.adapters import LORA_FILE
from dermray.serving.drawing.gate import gate_of
from dermray.serving.settings import ServedAdapter

ABOUT = "config.json"


@dataclass(frozen=True)
class AdapterPlace:
    """Where an adapter's weights are, and what is known of them."""

    name: str
    file: str  # .safetensors, here or in S3
    version: str  # a result's key, or a fingerprint of the file
    fingerprint: str  # of the file
    licence: str
    about: dict[str, Any] | None = field(default=None, hash=False)  # family and config, where the directory says them
    base: str | None = None  # fingerprint of a base that lies beside it
    gate: str | None = None  # where its gate lies

    @property
    def key(self) -> str:
        """Of these weights under this name."""
        return f"{self.name}@{self.version}"


def place_of_adapter(name: str, adapter: ServedAdapter) -> AdapterPlace:
    """Where the adapter of a config lies.

    Raises:
        FileNotFoundError: it is not there. ValueError: no adapter, or a damaged one, or its gate is another's.
    """
    uri = storage.normalise(adapter.place)
    if not storage.exists(uri):
        raise FileNotFoundError(f"{adapter.place}: no such adapter; give a train result, a directory or a file")
    if uri.endswith(".safetensors"):
        found = _of_file(name, uri, adapter)
    elif storage.exists(storage.join(uri, "manifest.json")):
        found = _of_result(name, uri, adapter)
    else:
        found = _of_directory(name, uri, adapter)
    weights_file.read_header(found.file, adapter.place)
    if adapter.gate is None:
        return found
    return AdapterPlace(**vars(found) | {"gate": gate_of(adapter.gate, found.version)})


def _of_file(name: str, file: str, adapter: ServedAdapter) -> AdapterPlace:
    version = weights.fingerprint(file)
    return AdapterPlace(name, file, version, version, adapter.licence or "unknown")


def _of_result(name: str, uri: str, adapter: ServedAdapter) -> AdapterPlace:
    result = manifest.read(uri)
    if result.manifest.stage != "train":
        raise ValueError(f"{adapter.place}: result of stage {result.manifest.stage!r}; an adapter is one of train")
    licence = " AND ".join(result.manifest.licences) or adapter.licence or "unknown"
    found = _of_directory(name, storage.join(result.data, "model"), adapter)
    return AdapterPlace(**vars(found) | {"version": result.manifest.key, "licence": licence})


def _of_directory(name: str, uri: str, adapter: ServedAdapter) -> AdapterPlace:
    file = storage.join(uri, LORA_FILE)
    if not storage.exists(file):
        raise ValueError(
            f"{adapter.place}: no {LORA_FILE} there; give a train result of a LoRA family, the directory that such an "
            "adapter was saved in, or its .safetensors file"
        )
    about = about_of(storage.join(uri, ABOUT), adapter.place)
    beside = about is not None and about["config"].get("base") == frozen.NANO
    base = weights.fingerprint(storage.join(uri, "base")) if beside else None
    version = weights.fingerprint(file)
    return AdapterPlace(name, file, version, version, adapter.licence or "unknown", about, base)


def about_of(uri: str, place: str) -> dict[str, Any] | None:
    """Family and config of a checkpoint of dermray's; none of what another program saved."""
    if not storage.exists(uri):
        return None
    try:
        about = json.loads(storage.read_bytes(uri))
    except ValueError as error:
        raise ValueError(f"{place}: {PurePosixPath(uri).name} is damaged, no JSON ({error}); copy it again") from None
    if not (isinstance(about, dict) and "family" in about and isinstance(about.get("config"), dict)):
        return None
    return about


def said_of(adapter: AdapterPlace, model: str, licence: str) -> dict[str, str]:
    """What images say of an adapter beside what they say of its base.

    Args:
        model: the base's served name. licence: the base's.
    """
    return {
        "model": f"{model}:{adapter.name}", "adapter": adapter.version,
        "licence": both_licences(licence, adapter.licence),
    }  # fmt: skip


def both_licences(base: str, adapter: str) -> str:
    """Of what was made from both, each named once."""
    return " AND ".join(dict.fromkeys([*base.split(" AND "), *adapter.split(" AND ")]))
