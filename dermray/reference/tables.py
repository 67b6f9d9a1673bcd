"""A config's JSON schema as Markdown tables: one of its own fields, one of each section below it."""

import re
from collections.abc import Iterator
from typing import Any

from dermray.reference.template import MISSING, Schema, allowed, as_yaml

HEAD = "| field | default | may be | what it is |\n|---|---|---|---|"


def tables(schema: Schema, level: int = 3, start: str = "") -> str:
    """Markdown: fields with default, what they may be and what they are; sections under headings of this level.

    `start` is the path of the config itself, where it is a section of another one.
    """
    return "\n".join(_Tables(schema.get("$defs", {}), level).of(schema, start))


def anchor(path: str) -> str:
    """The address of a section within a page: `config-loop`, `config-sources-0`."""
    return "config-" + "".join(letter if letter.isalnum() else "-" for letter in path)


class _Tables:
    """Sections are written once: two fields with equal sections and defaults lead to the first."""

    def __init__(self, parts: dict[str, Schema], level: int) -> None:
        self.parts, self.level = parts, level
        self.written: dict[str, str] = {}  # which section with which defaults, and its path
        self.waiting: list[tuple[str, Schema, dict[str, Any]]] = []  # path, section, defaults

    def of(self, schema: Schema, start: str) -> Iterator[str]:
        """One table after the other, a section's behind the one that names it."""
        self.waiting = [(start, schema, {})]
        while self.waiting:
            path, section, defaults = self.waiting.pop(0)
            if section is not schema:
                yield f"{'#' * self.level} `{path}` {{ #{anchor(path)} }}\n"
                yield f"{_plain(section.get('description', ''))}\n"
            yield "\n".join([HEAD, *self._rows(path, section, defaults)]) + "\n"

    def _rows(self, path: str, section: Schema, defaults: dict[str, Any]) -> Iterator[str]:
        for name, field in section.get("properties", {}).items():
            value = defaults.get(name, field.get("default", MISSING))
            links = self._links(f"{path}.{name}".removeprefix("."), field, value)
            required = name in section.get("required", ())
            yield f"| `{name}` | {_default(value, required, links)} | {self._may_be(field, links)} | {_what(field)} |"

    def _links(self, path: str, field: Schema, value: Any) -> list[str]:
        defaults, links = value if isinstance(value, dict) else {}, []
        for where, key in _sections(path, field, self.parts):
            first = self.written.setdefault(f"{key} {defaults}", where)
            if first == where:
                self.waiting.append((where, self.parts[key], defaults))
            links.append(f"[`{first}`](#{anchor(first)})")
        return links

    def _may_be(self, field: Schema, links: list[str]) -> str:
        words = _plain(allowed(field, self.parts))
        if not links:
            return words
        without_null = words.removesuffix("null").removesuffix(" or ")
        between = " of " if without_null.endswith("a list") else " or "
        kinds = between.join(filter(None, [without_null, " or ".join(links)]))
        return kinds if without_null == words else f"{kinds} or null"


def _sections(path: str, field: Schema, parts: dict[str, Schema]) -> Iterator[tuple[str, str]]:
    """Sections of a field, as their paths and the names of their schemas; of several kinds, one each."""
    kinds = field.get("anyOf") or field.get("oneOf") or [field]
    several = sum("$ref" in kind for kind in kinds) > 1
    for kind in kinds:
        key = kind.get("$ref", "").rsplit("/", 1)[-1]
        if key and parts[key].get("properties"):
            yield (f"{path} ({_kind(parts[key], key)})" if several else path), key
        if kind.get("type") == "array":
            yield from _sections(f"{path}.0", kind.get("items", {}), parts)


def _kind(part: Schema, key: str) -> str:
    """By what a person tells one kind of section from another: its constant, such as `task: classification`."""
    told = [str(field["const"]) for field in part["properties"].values() if "const" in field]
    return told[0] if told else str(part.get("title", key))


def _default(value: Any, required: bool, links: list[str]) -> str:
    if required:
        return "**required**"
    if value is MISSING or (links and value):
        return ""  # of a section, which has a table of its own
    return f"`{as_yaml(value)}`"


def _what(field: Schema) -> str:
    return _plain(field.get("description", ""))


def _plain(text: str) -> str:
    """Text within a cell, where bars would end it, brackets would be links and angle brackets HTML."""
    return re.sub(r"[|\[\]]", r"\\\g<0>", " ".join(text.split())).replace("<", "&lt;")
