"""Models that are served, found and loaded: a stage's result, a directory, S3, or the hub."""

import json
from dataclasses import dataclass
from pathlib import Path

from dermray import manifest, node_cache, storage, weights
from dermray.classification import saved
from dermray.classification.saved import Saved
from dermray.generators.base import Generator, family
from dermray.generators.coverage import Reader
from dermray.manifest import Result

STAGES = {"generation": ("train",), "classification": ("classify", "sweep")}


@dataclass(frozen=True)
class Place:
    """Where a model's files are, and what is known of them."""

    uri: str  # a directory, also in S3, or a hub id
    version: str  # of the weights: a result's key, or a fingerprint
    licence: str


def place_of(model: str, task: str) -> Place:
    """Where the model of a config lies.

    Raises:
        FileNotFoundError: it is neither there nor on the hub. ValueError: the result of another stage, or no model.
    """
    uri = storage.normalise(model) if not weights.may_change(model) else model
    if storage.exists(storage.join(uri, "manifest.json")):
        return _of_result(manifest.read(uri), task)
    found = weights.everywhere(model, "models.model")
    if not weights.on_hub(found):
        _require_model(found, task)
    return Place(found, weights.revision_of(found, None) or "unknown", "unknown")


def _require_model(place: str, task: str) -> None:
    """By its small files: weights are read where they are served."""
    directory = Path(weights.locate_small(place, "models.model"))
    if task == "generation":
        family(family_of(directory))
    else:
        saved.require(directory)


def _of_result(result: Result, task: str) -> Place:
    stage = result.manifest.stage
    if stage not in STAGES[task]:
        expected = " or ".join(STAGES[task])
        raise ValueError(f"{result.uri}: result of stage {stage!r}; for task={task} give one of {expected}")
    licence = " AND ".join(result.manifest.licences) or "unknown"
    return Place(storage.join(result.data, "model"), result.manifest.key, licence)


def open_generator(place: Place) -> tuple[Generator, list[Reader], str]:
    """A generator in evaluation mode, what reads its prompts, and the name of its family.

    Raises:
        ValueError: the directory holds no generator, or a damaged one.
    """
    directory = _directory(place)
    name = family_of(directory)
    loaded = family(name).load(directory).eval()
    return loaded, family(name).readers(loaded.config, [], directory), name


def open_classifier(place: Place) -> Saved:
    """A classifier in evaluation mode.

    Raises:
        FileNotFoundError, ValueError: no classifier of dermray's there.
    """
    return saved.load(_directory(place))


def _directory(place: Place) -> Path:
    if storage.is_s3(place.uri):
        return node_cache.local_copy(place.uri)
    return Path(weights.locate_adapter(place.uri, "models.model", place.version if weights.on_hub(place.uri) else None))


def family_of(directory: Path) -> str:
    """The family of a checkpoint's generator.

    Raises:
        ValueError: the directory holds no checkpoint of a generator.
    """
    path = directory / "config.json"
    try:
        name = json.loads(path.read_text()).get("family") if path.is_file() else None
    except ValueError as error:
        raise ValueError(f"{path}: damaged, no JSON ({error}); copy it again") from None
    if not name:
        raise ValueError(f"{directory}: no generator of dermray's (no config.json that names its family)")
    return str(name)
