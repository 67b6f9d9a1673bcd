"""Typed configs: a YAML preset plus `key=value` overrides, checked before anything is started."""

import json
import re
from collections.abc import Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from dermray.config_errors import ConfigError as ConfigError  # what reads configs catches it from here
from dermray.config_errors import lines_of

PRESETS = Path(__file__).parent.parent / "jobs" / "configs"
SECRET = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#\s]*@")  # a URL with user:password@ or token@ before its host


class Config(BaseModel):
    """Base of every stage's config. Unknown keys, wrong types, empty texts, NaN and infinity are errors.

    A validator of a whole config names the field first, `betas=...: expected ...`, so that its path can be put before.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, str_min_length=1)

    def require(self, inputs: Mapping[str, BaseModel]) -> None:
        """Refuse what configs alone say will not do, before a run of several stages starts.

        Args:
            inputs: configs of the stages whose results this one will read, by the field that names the result.

        Raises:
            ConfigError: one that cannot serve.
        """

    @model_validator(mode="after")
    def _without_secrets(self) -> Self:
        """A config goes into manifests, logs and Ray's events, so no URL in it may hold a password."""
        if named := [name for name, text in _texts(self.__dict__) if SECRET.match(text)]:
            raise ConfigError(
                f"{named[0]}: this URL holds a user or password before its host, which every manifest would keep; "
                "leave them out, and give them by the environment or by the server's own means"
            )
        return self


def _texts(data: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a config's own values with its name, such as sources.0.path; sections look after theirs."""
    if isinstance(data, str):
        yield name, data
    elif isinstance(data, dict | list | tuple):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _texts(value, f"{name}.{key}".removeprefix("."))


C = TypeVar("C", bound=BaseModel)
T = TypeVar("T")
HOW_FAST = "how fast"
# A field that decides how fast work is done or what it costs, not what comes out: it may change between a crash and the
# next start.
HowFast = Annotated[T, HOW_FAST]


def _ordered(count: int | tuple[int, int]) -> int | tuple[int, int]:
    least, most = (count, count) if isinstance(count, int) else count
    if not 1 <= least <= most:
        raise ValueError("expected at least 1, and [min, max] in this order")
    return count


Count = Annotated[int | tuple[int, int], AfterValidator(_ordered)]  # of workers: a number, or [min, max]


class _Yaml(yaml.SafeLoader):
    """YAML as people mean it: the scalars of YAML 1.2's core schema, and each key once.

    PyYAML reads YAML 1.1, in which 010 is 8, 12:30 is 750, `no` is false, 2024-01-01 is a date and 1e-3 is a word.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping, refused where a key stands in it twice: PyYAML keeps the last one and says nothing."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise ConfigError(f"line {line}: {key.value!r} stands in line {lines[key.value]} already; keep one")
            lines[key.value] = line
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Decimal, but for 0o and 0x."""
        return int(node.value, 0) if "o" in node.value or "x" in node.value else int(node.value)


_CORE_SCHEMA = {  # YAML 1.2.2, section 10.3.2; and YAML 1.1's merge key
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "merge": "<<",
}
for _kind, _pattern in _CORE_SCHEMA.items():
    _Yaml.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})$"), None)
_Yaml.add_constructor("tag:yaml.org,2002:int", _Yaml.construct_yaml_int)


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
    """Read a YAML file (or none), apply `a.b=value` overrides, validate.

    Raises:
        ConfigError: missing file, bad YAML, unknown key, wrong type or value out of range.
    """
    data = read_file(Path(path)) if path is not None else {}
    for override in overrides or []:
        _apply(data, override)
    return validate(cls, data, where=str(path or "config"))


def validate(cls: type[C], data: dict[str, Any], where: str = "config") -> C:
    """`data` as a `cls`, with errors a person can act on."""
    try:
        return _parse(cls, data)
    except ValidationError as error:
        raise ConfigError(f"{where}:\n  " + "\n  ".join(lines_of(cls, error))) from None


def section(cls: type[C], data: dict[str, Any], name: str) -> C:
    """Like `validate`, for validators of a config of which `data` is the part `name`: errors have the whole path."""
    try:
        return _parse(cls, data)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{name}.{line}" for line in lines_of(cls, error))) from None


def _parse(cls: type[C], data: dict[str, Any]) -> C:
    # JSON mode, in which YAML's lists may fill tuples while "3" is still no int
    return cls.model_validate_json(json.dumps(data, default=str))


def decisive(config: BaseModel) -> dict[str, Any]:
    """What of a config decides the result: all fields but those that are HowFast."""
    settings = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if HOW_FAST in field.metadata:
            del settings[name]
        elif isinstance(value, BaseModel):
            settings[name] = decisive(value)
        elif isinstance(value, list | tuple):
            kept = zip(value, settings[name], strict=True)
            settings[name] = [decisive(item) if isinstance(item, BaseModel) else text for item, text in kept]
    return settings


def read_file(path: Path) -> dict[str, Any]:
    """What a YAML file holds.

    Raises:
        ConfigError: no such file, bad YAML, or no mapping.
    """
    if not path.is_file():
        raise ConfigError(f"config {path}: no such file; give a YAML file, for example one below {PRESETS}")
    try:
        data = yaml.load(path.read_text("utf-8"), _Yaml)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"config {path}: expected UTF-8, got {error.object[error.start]:#x}; save it as UTF-8"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path}: not valid YAML: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"config {path}: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"config {path}: expected key: value pairs, got {type(data).__name__}")
    return data


def _apply(data: dict[str, Any], override: str) -> None:
    """Set `a.b=value` in `data`; `a.0.b` and `a[0].b` are the first item's of a list."""
    name, sign, text = override.partition("=")
    if not sign or not name:
        raise ConfigError(f"override {override!r}: expected key=value, for example loop.steps=100")
    *parents, last = re.sub(r"\[(\d+)\]", r".\1", name).split(".")
    place: Any = data
    try:
        for parent in parents:
            key = _key(place, parent)
            if isinstance(place, dict) and place.get(key) is None:
                place[key] = {}
            # a copy: a section that stands in two places by YAML's `*alias` is one object, and only this place is meant
            place[key] = copy(place[key])
            place = place[key]
        place[_key(place, last)] = _value(text)
    except ConfigError as error:
        raise ConfigError(f"override {override!r}: {error}") from None


def _key(place: Any, part: str) -> Any:
    """What `part` of an override's name is in a mapping or a list."""
    if isinstance(place, dict):
        return part
    if not isinstance(place, list):
        raise ConfigError(f"{part} stands below {place!r}, which is a value, not a section")
    if not part.isdecimal() or int(part) >= len(place):
        raise ConfigError(f"{part} is no item of a list of {len(place)}; expected a number from 0 to {len(place) - 1}")
    return int(part)


def _value(text: str) -> Any:
    """YAML's null, true, false, numbers, "quoted texts", [lists] and {mappings}; all else is text as it stands.

    YAML itself would cut `runs/a #1` at the comment and make a mapping of `a: b`.
    """
    text = text.strip()
    if not text:
        raise ConfigError("no value; write null for none, or '\"\"' for an empty text")
    try:
        node = yaml.compose(text, _Yaml)
        if node is None or (node.start_mark.index, node.end_mark.index) != (0, len(text)) or _plain(node):
            return text
        return yaml.load(text, _Yaml)
    except yaml.YAMLError:
        return text


def _plain(node: yaml.Node) -> bool:
    """Whether YAML took words for a text or for a structure without saying so by quotes or brackets."""
    if isinstance(node, yaml.CollectionNode):
        return not node.flow_style
    return node.tag.endswith(":str") and getattr(node, "style", None) not in ("'", '"')
