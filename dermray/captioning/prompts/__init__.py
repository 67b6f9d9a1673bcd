"""Prompt sets by name: one file each, versioned by the hash of its words."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from jinja2 import Environment, StrictUndefined

from dermray.captioning.answers import Answer
from dermray.captioning.compose import ENTITY_NAMES
from dermray.captioning.reading import parse

NAMES = ("abc", "abc-label", "attributes-2", "attributes-5", "clinical-qa", "structured")


@dataclass(frozen=True)
class PromptSet:
    """Words that go in, and how the answer is read."""

    template: str  # jinja2; sees `known`, the row's attributes in words, without those that are unknown
    read: Callable[[str], Answer] = parse  # answer to attributes; raises ValueError where it has not the form asked for
    schema: dict[str, Any] | None = None  # JSON schema that the engine decodes by
    sentences: bool = False  # the caption takes the answer's text; otherwise its attributes
    needs_attributes: bool = False  # an answer that names no ABC attribute is rejected
    needs: tuple[str, ...] = ()  # columns that its words tell the model: with none of them it is another set's question
    internal_context: bool = False  # the metadata was given on the condition that it is not quoted
    prepare: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: {}  # further variables of the template
    phrasings: Any = None  # the words out of which `prepare` chooses


def prompt_set(name: str) -> PromptSet:
    """A prompt set by its name.

    Raises:
        ValueError: unknown prompt set.
    """
    if name not in NAMES:
        raise ValueError(f"prompt_set={name!r}: expected one of {NAMES}")
    found: PromptSet = import_module(f"dermray.captioning.prompts.{name.replace('-', '_')}").PROMPT_SET
    return found


def render(name: str, row: dict[str, Any]) -> str:
    """The filled prompt of one row. A missing attribute is left out of it.

    Raises:
        ValueError: unknown prompt set.
    """
    words = prompt_set(name)
    return _compiled(words.template).render(known=known(row), **words.prepare(row)).strip()


def version(name: str) -> str:
    """Twelve hex digits that change with any word of the set or with its schema."""
    words = prompt_set(name)
    text = json.dumps([words.template, words.schema, words.phrasings])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def prompt_hash(prompt: str) -> str:
    """First 12 hex digits of the filled prompt's SHA-256."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:12]


def known(row: dict[str, Any]) -> dict[str, str]:
    """What the row's metadata says, in words, in a fixed order; unknown attributes are absent."""
    row = {name: None if value != value else value for name, value in row.items()}  # NaN says nothing
    malignant, age = row.get("malignant"), row.get("age")
    words = {
        "label": None if malignant is None else "malignant" if malignant else "benign",
        "diagnosis": ENTITY_NAMES.get(str(row.get("diagnosis")).lower(), row.get("diagnosis")),  # codes in words
        "skin tone": row.get("skin_tone"),
        "sex": row.get("sex"),
        "age": None if age is None else f"{age:.0f}",
        "anatomical site": row.get("site"),
        "image type": row.get("modality"),
    }
    return {name: str(value) for name, value in words.items() if value not in (None, "", "nan", "unknown")}


@cache
def _compiled(template: str) -> Any:
    return Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        template
    )  # plain text for a model, not HTML
