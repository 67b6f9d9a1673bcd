"""What is wrong with a config, in lines that a person can act on."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

Location = tuple[str | int, ...]


class ConfigError(ValueError):
    """What is wrong with a config, one line per field: got, expected."""


@dataclass(frozen=True)
class _Place:
    """Where in a config, as its file has it, and what may stand there."""

    path: tuple[str, ...]
    annotation: Any
    branch: bool  # whether pydantic tells of one branch of a union here, and of the others in errors beside it


def lines_of(cls: type[BaseModel], error: ValidationError) -> list[str]:
    """One line per field that is wrong: its path, what was got and what is expected."""
    errors = [dict(e) for e in error.errors()]
    return [line for e in errors if not _beside_the_point(cls, e, errors) for line in _lines(cls, e)]


def _beside_the_point(cls: type[BaseModel], error: dict[str, Any], errors: list[dict[str, Any]]) -> bool:
    """Whether the value is of another branch of its union, of which another error tells more.

    Or whether a list is called too short because its items are wrong, which other errors say.
    """
    loc: Location = error["loc"]
    if error["type"] == "default_factory_not_called":  # another field is wrong, which its own error says
        return True
    if error["type"] == "too_short" and error["input"]:
        return any(e["loc"][: len(loc)] == loc and len(e["loc"]) > len(loc) for e in errors)
    if not error["type"].endswith("_type") or not _place(cls, loc).branch:
        return False
    others = [e for e in errors if e["loc"][: len(loc) - 1] == loc[:-1]]
    return any(not e["type"].endswith("_type") or len(e["loc"]) > len(loc) for e in others)


def _lines(cls: type[BaseModel], error: dict[str, Any]) -> list[str]:
    field = ".".join(_place(cls, error["loc"]).path)
    if error["type"] == "extra_forbidden":
        known = ", ".join(_keys(_place(cls, error["loc"][:-1]).annotation))
        return [f"{field}={error['input']!r}: unknown key; there are: {known}"]
    if error["type"] == "missing":
        return [f"{field}: missing, and it has no default"]
    if error["type"].startswith("union_tag"):
        name = error["ctx"]["discriminator"].strip("'")
        tags = ", ".join(
            sorted(tag for option in _options(_place(cls, error["loc"]).annotation) for tag in _tags(option))
        )
        got = "missing" if error["type"] == "union_tag_not_found" else repr(error["ctx"]["tag"])
        return [f"{field}.{name}: {got}; expected one of {tags}"]
    if error["type"] != "value_error":
        return [f"{field}={error['input']!r}: {error['msg']}{_hint(error)}"]
    cause = error["ctx"]["error"]
    if isinstance(cause, ConfigError) or not field:  # it names fields of its own
        return [f"{field}.{line}".removeprefix(".") for line in str(cause).splitlines()]
    return [f"{field}={error['input']!r}: {cause}"]


def _hint(error: dict[str, Any]) -> str:
    given = error["input"]
    if error["type"] == "bool_type" and str(given).lower() in ("yes", "no", "on", "off"):
        return "; write true or false"
    if error["type"] == "string_type" and isinstance(given, (bool, int, float)):
        return "; a text that looks like another value needs quotes within quotes: '\"...\"'"
    if error["type"] in ("list_type", "tuple_type") and isinstance(given, dict):
        return (
            "; the file gives no list here whose items could be set: give the whole list, [...], or, in a run, name "
            "the item where a scale has it: stages.<stage>.scales.<scale>.<field>.0"
        )
    return ""


def _place(cls: type[BaseModel], loc: Location) -> _Place:
    """Pydantic's location without its names for branches of unions, which stand in no file."""
    annotation: Any = cls
    path, branch = list[str](), False
    for part in loc:
        options = _options(annotation)
        branch = len(options) > 1
        if branch:
            annotation = next((option for option in options if _is_named(option, str(part))), Any)
        else:
            path.append(str(part))
            annotation = _below(options[0], part) if options else Any
    return _Place(tuple(path), annotation, branch)


def _options(annotation: Any) -> list[Any]:
    """The branches of a union, None apart, or the one type that is no union."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [option for branch in get_args(annotation) for option in _options(branch)]
    return [] if annotation is type(None) else [annotation]


def _is_named(option: Any, label: str) -> bool:
    """Whether pydantic means this branch: by its tag, or by a name that has its class's in it."""
    return label in _tags(option) or (_is_config(option) and option.__name__ in label)


def _below(option: Any, part: str | int) -> Any:
    if _is_config(option):
        field = option.model_fields.get(part)
        return Any if field is None else field.annotation
    arguments = get_args(option)
    if not arguments:
        return Any
    if get_origin(option) is dict:
        return arguments[1]
    return arguments[part] if isinstance(part, int) and part < len(arguments) else arguments[0]


def _tags(option: Any) -> Iterator[str]:
    if _is_config(option):
        for field in option.model_fields.values():
            if get_origin(field.annotation) is Literal and field.is_required():
                yield from get_args(field.annotation)


def _keys(annotation: Any) -> list[str]:
    return [name for option in _options(annotation) if _is_config(option) for name in option.model_fields]


def _is_config(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)
