"""Typed configs: a YAML preset plus `key=value` overrides, checked before anything is started."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

PRESETS = Path(__file__).parent.parent / "jobs" / "configs"


class Config(BaseModel):
    """Base of every stage's config: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


C = TypeVar("C", bound=BaseModel)
T = TypeVar("T")
HOW_FAST = "how fast"
# A field that decides how fast work is done or what it costs, not what comes out: it may change between a crash and the
# next start.
HowFast = Annotated[T, HOW_FAST]


class _Yaml(yaml.SafeLoader):
    """PyYAML, which reads YAML 1.1, takes 1e-3 for a word; people and YAML 1.2 mean a number."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.\d+|\d+\.?\d*)[eE][-+]?\d+$"), list("-+.0123456789")
)


class ConfigError(ValueError):
    """What is wrong with a config, one line per field: got, expected."""


def preset(name: str) -> Path:
    """Path of a shipped preset such as `pipeline/quickstart`.

    Raises:
        ConfigError: no such preset.
    """
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        known = sorted(str(p.relative_to(PRESETS).with_suffix("")) for p in PRESETS.rglob("*.yaml"))
        raise ConfigError(f"preset {name!r} not found in {PRESETS}; there are: {', '.join(known) or 'none'}")
    return path


def load(cls: type[C], path: str | Path | None = None, overrides: list[str] | None = None) -> C:
    """Read a YAML file (or none), apply `a.b=value` overrides (values in YAML), validate.

    Raises:
        ConfigError: missing file, bad YAML, unknown key, wrong type or value out of range.
    """
    data = _read(Path(path)) if path is not None else {}
    for override in overrides or []:
        _apply(data, override)
    return validate(cls, data, where=str(path or "config"))


def validate(cls: type[C], data: dict[str, Any], where: str = "config") -> C:
    """`data` as a `cls`, with errors a person can act on."""
    try:
        # JSON mode, in which YAML's lists may fill tuples while "3" is still no int
        return cls.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        lines = [_line(cls, dict(e)) for e in error.errors()]
        raise ConfigError(f"{where}:\n  " + "\n  ".join(lines)) from None


def decisive(config: BaseModel) -> dict[str, Any]:
    """What of a config decides the result: all fields but those that are HowFast."""
    settings = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if HOW_FAST in field.metadata:
            del settings[name]
        elif isinstance(value, BaseModel):
            settings[name] = decisive(value)
    return settings


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"config {path}: no such file; give a YAML file, for example one below {PRESETS}")
    try:
        data = yaml.load(path.read_text(), _Yaml)
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"config {path}: expected key: value pairs, got {type(data).__name__}")
    return data


def _apply(data: dict[str, Any], override: str) -> None:
    key, sign, value = override.partition("=")
    if not sign or not key:
        raise ConfigError(f"override {override!r}: expected key=value, for example train.steps=100")
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ConfigError(f"override {override!r}: {parent} is a value, not a section")
    try:
        data[last] = yaml.load(value, _Yaml)
    except yaml.YAMLError:
        data[last] = value


def _line(cls: type[BaseModel], error: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{field}={error['input']!r}: unknown key; there are: {', '.join(_known_keys(cls, error['loc']))}"
    if error["type"] == "missing":
        return f"{field}: missing, and it has no default"
    return f"{field}={error['input']!r}: {error['msg']}"


def _known_keys(cls: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    model: Any = cls
    for part in loc[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field is not None else model
    return list(getattr(model, "model_fields", cls.model_fields))
