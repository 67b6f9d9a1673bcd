"""A row's metadata as clean text for the model's own use.

Paper 003's public code hands one source's metadata to the model as a Python tuple, brackets and all. Here whatever a
column holds becomes words, or nothing.
"""

import ast
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from dermray.captioning.prompts import known

COLUMNS = ("malignant", "diagnosis", "skin_tone", "sex", "age", "site", "modality")  # that `prompts.known` reads
NOTHING = frozenset(("", "nan", "nat", "none", "null", "unknown", "n/a", "na", "<na>", "-"))
LITERAL = re.compile(r"^\s*[(\[{].*[)\]}]\s*$", re.DOTALL)  # a tuple, list, set or dict that became a string


def context(row: dict[str, Any], columns: Iterable[str] = COLUMNS) -> dict[str, str]:
    """What is known of a row out of `columns`, by name and in words, as `captioning.prompts.known` has it."""
    return known({name: _typed(name, row.get(name)) for name in columns})


def clean(value: Any) -> str | None:
    """A value in words: what is in a container joined by commas, on one line, without quotes or brackets; None where
    it says nothing."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return _text(value.decode(errors="replace"))
    if hasattr(value, "tolist"):  # numpy's arrays and scalars
        return clean(value.tolist())
    if isinstance(value, Mapping):
        told = ((clean(key), clean(item)) for key, item in value.items())
        return ", ".join(f"{key} {item}" for key, item in told if key and item) or None
    if isinstance(value, Iterable):
        ordered = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return ", ".join(dict.fromkeys(text for item in ordered if (text := clean(item)))) or None
    if isinstance(value, float):
        return None if not math.isfinite(value) else f"{value:g}"
    return _text(str(value))


def _text(text: str) -> str | None:
    if LITERAL.match(text):
        try:
            return clean(ast.literal_eval(text.strip()))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            text = text.strip().strip("()[]{}")  # not Python's, such as "(left arm)"
    words = " ".join(text.split())
    return None if words.lower() in NOTHING else words


def _typed(name: str, value: Any) -> Any:
    """As `known` takes it: a flag, a number, or words."""
    words = clean(value)
    if words is None:
        return None
    if name == "malignant":
        return {"true": True, "1": True, "false": False, "0": False}.get(words.lower())
    if name == "age":
        try:
            years = float(words)
        except ValueError:
            return None
        return years if math.isfinite(years) else None
    return words
