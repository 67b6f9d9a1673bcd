"""What a config names: are its inputs and weights where it says?"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dermray import storage, weights
from dermray.config import ConfigError, load
from dermray.doctor.finding import Finding, fault, ok, warning

# Fields that name results or weights, in the configs of all stages.
INPUTS = frozenset({"rows", "synthetic", "generator", "classifier", "captioner", "study", "previous", "run", "model",
                    "result", "trained_on", "extend", "retry_failed"})
SEVERAL = frozenset({"captions", "sweeps"})  # lists of results
WEIGHTS = frozenset({"base", "start_from", "vae", "text_encoder", "upsampler", "weights", "clip"})
WORDS = frozenset({"nano", "timm", "pretrained", "random", "renderer", "unknown"})  # that stand where a place could


def findings(stage: str, file: Path, overrides: list[str]) -> Iterator[Finding]:
    """Of a stage's config: valid, and what it names is there."""
    from dermray.pipeline import command

    try:
        config = load(command(stage)[0], file, overrides)
    except ConfigError as error:
        yield fault(str(error), "correct it; `dermray config` prints what there is")
        return
    yield ok(f"{file}: a valid config of {stage}")
    for field, place in named(config.model_dump(mode="json")):
        yield there(field, place)


def named(config: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """(field, place) of everything that names inputs or weights. What an endpoint calls its model is no place."""
    for name, value in config.items() if isinstance(config, dict) else enumerate(config):
        field = f"{before}.{name}" if before else str(name)
        if isinstance(value, dict | list):
            if "base_url" not in value:
                yield from named(value, field)
        elif isinstance(value, str) and _names(field) and value not in WORDS:
            yield field, value


def _names(field: str) -> bool:
    """Whether a field's value is a place: by its own name, or by that of the list or mapping that it is an item of."""
    own, *above = reversed(field.split("."))
    if own in INPUTS | WEIGHTS:
        return True
    return bool(above) and (own.isdecimal() and above[0] in SEVERAL or above[0] == "synthetic")


def there(field: str, place: str) -> Finding:
    try:
        if not weights.may_change(place):
            found = storage.exists(storage.normalise(place))
            return (
                ok(f"{field}={place}: there")
                if found
                else fault(f"{field}={place}: not there", "make it first, or correct it")
            )
    except (OSError, ValueError) as error:
        return fault(f"{field}={place}: {error}", "correct the place or the credentials")
    if os.environ.get("HF_HUB_OFFLINE"):
        return warning(f"{field}={place}: a hub id, and HF_HUB_OFFLINE is set", "it is used if this machine has a copy")
    return ok(f"{field}={place}: a hub id, fetched when it is used")
