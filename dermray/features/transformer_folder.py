"""What a transformers folder holds, by its config.json and the headers of its weights: no weights are read for it."""

import json
from typing import Any

from dermray import storage, weights, weights_file
from dermray.backbones import pretrained

FIELD = "weights"
CONFIG = "config.json"
PREPARED = ("preprocessor_config.json", "processor_config.json")
INDEX = ".index.json"  # names the parts of weights in several files
TENSORS = ("model.safetensors", f"model.safetensors{INDEX}", "pytorch_model.bin", f"pytorch_model.bin{INDEX}")


def check(given: str, revision: str | None, kind: str, types: tuple[str, ...]) -> str:
    """The model_type, one of `types`.

    Raises:
        FileNotFoundError, ValueError: no such folder, another network's, or files that are cut short.
    """
    place = weights.everywhere(given, FIELD)
    about = _on_hub(place, revision) if weights.on_hub(place) else _in_folder(place, kind)
    found = about.get("model_type")
    if found not in types:
        raise ValueError(
            f"{FIELD}={given}: a model of type {found!r}, expected one of {', '.join(types)} for kind {kind}; give "
            f"a {kind} model's folder, or the kind that this one is"
        )
    return str(found)


def _on_hub(place: str, revision: str | None) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    commit = weights.hub_commit(place, revision)  # says so where nobody answers
    with pretrained.hub(place, FIELD), open(hf_hub_download(place, CONFIG, revision=commit), "rb") as file:
        return _parsed(file.read(), f"{place}/{CONFIG}")


def _in_folder(place: str, kind: str) -> dict[str, Any]:
    """Its config.json, where all else that is needed is there."""
    remedy = f"give a {kind} model's folder as transformers' save_pretrained writes it, or a hub id"
    if weights.is_single_file(place) or not storage.exists(storage.join(place, CONFIG)):
        raise FileNotFoundError(f"{FIELD}={place}: no transformers folder, since it has no {CONFIG}; {remedy}")
    files = {file.rpartition("/")[2] for file in storage.list_files(place, below=False)}
    if not (prepared := files & set(PREPARED)):
        raise FileNotFoundError(
            f"{FIELD}={place}: no {PREPARED[0]}, which says how images are prepared; copy it from where the weights are"
        )
    if not files & set(TENSORS):
        raise FileNotFoundError(f"{FIELD}={place}: none of {', '.join(TENSORS)}; {remedy}")
    for index in files & {name for name in TENSORS if name.endswith(INDEX)}:
        _require_parts(place, index, files)
    for name in sorted(name for name in files if name.startswith(("model", "pytorch_model"))):
        weights_file.check(storage.join(place, name), f"{FIELD}={storage.join(place, name)}")
    for name in prepared:
        _read_json(storage.join(place, name))
    return _read_json(storage.join(place, CONFIG))


def _require_parts(place: str, index: str, files: set[str]) -> None:
    parts = _read_json(storage.join(place, index)).get("weight_map", {}).values()
    if lacking := sorted(set(parts) - files):
        raise FileNotFoundError(
            f"{FIELD}={place}: {len(lacking)} of the files that {index} names are missing, such as {lacking[0]}; copy "
            "the folder again"
        )


def _read_json(file: str) -> dict[str, Any]:
    """The object in a file, here or in S3."""
    return _parsed(storage.read_bytes(file), file)


def _parsed(data: bytes, file: str) -> dict[str, Any]:
    """As `_read_json`, of what was read."""
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{file}: damaged, no JSON ({error}); copy it again") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file}: expected a JSON object, got {type(found).__name__}; copy it again")
    return found
