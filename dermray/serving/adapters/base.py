"""Whether an adapter was made for a base, by what the two say of themselves; layers are compared when it is loaded."""

from dataclasses import dataclass
from typing import Any

from dermray import storage, weights
from dermray.generators import frozen
from dermray.generators.base import family
from dermray.serving.adapters.place import ABOUT, AdapterPlace, about_of
from dermray.serving.opening import Place

ADAPTED = "a family with adapters (a name that ends in _lora)"


@dataclass(frozen=True)
class Base:
    """What a served generator draws with beside adapters."""

    name: str  # of the served model
    about: dict[str, Any]  # its family and config
    fingerprint: str | None  # of a base that lies beside its weights


def base_of(name: str, place: Place) -> Base:
    """By its small files.

    Raises:
        ValueError: its family takes no adapters.
    """
    uri = str(weights.locate_small(place.uri, "models.model"))
    about = about_of(storage.join(uri, ABOUT), place.uri)
    if about is None or not family(about["family"]).drawn_by:
        got = about["family"] if about else "an unknown one"
        raise ValueError(f"models.{name}: adapters need {ADAPTED}, got {got}; leave adapters and adapters_from out")
    whole = storage.join(place.uri, "base")
    return Base(name, about, weights.fingerprint(whole) if about["config"].get("base") == frozen.NANO else None)


def require_base(base: Base, adapter: AdapterPlace) -> None:
    """Refuse an adapter that says that it was made for another base, or that it draws from it in another way.

    Raises:
        ValueError: which base it expects.
    """
    if adapter.about is None:
        return
    ours, theirs = base.about, adapter.about
    expects = f"it expects {theirs['config'].get('base')} of family {theirs['family']}"
    if theirs["family"] != ours["family"]:
        raise ValueError(f"made for another base: {expects}, and {base.name} is of family {ours['family']}")
    if not _same_base(base, adapter):
        raise ValueError(f"made for another base: {expects}, and {base.name} has {_said(base)}")
    for field in family(ours["family"]).drawn_by:
        mine, own = ours["config"].get(field), theirs["config"].get(field)
        if mine != own:
            raise ValueError(
                f"trained with {field}={own}, and {base.name} has {field}={mine}: it would draw other images than by "
                "itself; serve it as a model, or give its .safetensors file to have it all the same"
            )


def _said(base: Base) -> str:
    config = base.about["config"]
    return f"{config.get('base')}" + (" with other words or weights" if base.fingerprint else "")


def _same_base(base: Base, adapter: AdapterPlace) -> bool:
    ours, theirs = base.about["config"], (adapter.about or {})["config"]
    if base.fingerprint or adapter.base:
        return base.fingerprint == adapter.base
    names = ("base", "revision", "base_config", "base_config_revision")
    if all(ours.get(name) == theirs.get(name) for name in names):
        return True
    try:  # the same files elsewhere
        return _fingerprint(ours) == _fingerprint(theirs)
    except OSError:  # they are not to be seen from here
        return False


def _fingerprint(config: dict[str, Any]) -> str | None:
    return weights.revision_of(weights.everywhere(config["base"], "model.base"), config.get("revision"))
