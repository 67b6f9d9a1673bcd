"""A config's JSON schema as YAML with comments: every field with its default, what it may be, and what it does."""

import json
from collections.abc import Iterator
from typing import Any

import yaml

Schema = dict[str, Any]
MISSING = object()
WORDS = {
    "minimum": "at least {}", "exclusiveMinimum": "more than {}", "maximum": "at most {}",
    "exclusiveMaximum": "less than {}", "multipleOf": "a multiple of {}", "pattern": "matches {}",
}  # fmt: skip
TYPES = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}


def template(schema: Schema) -> str:
    """YAML that the config class takes once its required fields, which stand as comments, are filled in."""
    return "\n".join(_fields(schema, schema.get("$defs", {}), {}, "")) + "\n"


def _fields(schema: Schema, parts: dict[str, Schema], defaults: Any, indent: str) -> Iterator[str]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        value = defaults.get(name, field.get("default", MISSING)) if isinstance(defaults, dict) else MISSING
        yield from _field(name, field, parts, value, name in required, indent)


def _field(
    name: str, field: Schema, parts: dict[str, Schema], value: Any, required: bool, indent: str
) -> Iterator[str]:
    may_be = allowed(field, parts)
    words = ["required:" if required else "", field.get("description"), f"[{may_be}]" if may_be else ""]
    said = " ".join(filter(None, words))
    section, listed = _section(field, parts), _section(field.get("items", {}), parts)
    if listed is not None and value in (MISSING, None):
        yield f"{indent}{name}:  # {said}"
        first, *others = _fields(listed, parts, {}, indent + "    ")
        yield f"{indent}  - {first.strip()}"
        yield from others
    elif section is not None and (value is not None or required):
        yield f"{indent}{name}:" + (f"  # {said}" if said else "")
        yield from _fields(section, parts, {} if value is MISSING else value, indent + "  ")
    elif required or value is MISSING:
        yield f"{indent}# {name}:  # {said}"
    else:
        yield f"{indent}{name}: {as_yaml(value)}" + (f"  # {said}" if said else "")


def _section(field: Schema, parts: dict[str, Schema]) -> Schema | None:
    """The schema of a field that is a config of its own; of several kinds, none."""
    kinds = [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
    if len(kinds) != 1 or "$ref" not in kinds[0]:
        return None
    part = parts[kinds[0]["$ref"].rsplit("/", 1)[-1]]
    return part if part.get("properties") else None


def as_yaml(value: Any) -> str:
    """A value on one line, as it stands in a config."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("...").strip()


def allowed(field: Schema, parts: dict[str, Schema]) -> str:
    """What a field may be, in words."""
    kinds = field.get("anyOf") or field.get("oneOf") or [field]
    return " or ".join(dict.fromkeys(filter(None, (_kind(kind, parts) for kind in kinds))))


def _kind(kind: Schema, parts: dict[str, Schema]) -> str:
    if "$ref" in kind:
        part = parts[kind["$ref"].rsplit("/", 1)[-1]]
        return "" if part.get("properties") else _kind(part, parts)
    if "enum" in kind:
        return " | ".join(map(as_yaml, kind["enum"]))
    if "const" in kind:
        return as_yaml(kind["const"])
    if kind.get("type") == "null":
        return "null"
    if kind.get("type") == "array":
        if tuple_of := kind.get("prefixItems"):
            return f"[{', '.join(_kind(part, parts) for part in tuple_of)}]"
        return f"a list: {inner}" if (inner := allowed(kind.get("items", {}), parts)) else "a list"
    if kind.get("type") == "object":
        return "keys and values"
    bounds = [text.format(kind[word]) for word, text in WORDS.items() if word in kind]
    return ", ".join(filter(None, [TYPES.get(str(kind.get("type")), ""), *bounds]))


def json_schema(schema: Schema) -> str:
    """For editors: `# yaml-language-server: $schema=FILE` at the head of a config checks it while it is written."""
    return json.dumps(schema, indent=2)
