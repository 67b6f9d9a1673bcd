"""Prompt sets by name: one file each, versioned by hash."""

import hashlib
from importlib import import_module

PROMPT_SETS = ("abc",)


def render(prompt_set: str, row: dict[str, object]) -> str:
    """The filled prompt of one row.

    Raises:
        ValueError: unknown prompt set.
    """
    if prompt_set not in PROMPT_SETS:
        raise ValueError(f"prompt_set={prompt_set!r}: expected one of {PROMPT_SETS}")
    return str(import_module(f"dermray.captioning.prompts.{prompt_set}").render(row))


def prompt_hash(prompt: str) -> str:
    """First 12 hex digits of the prompt's SHA-256."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:12]
