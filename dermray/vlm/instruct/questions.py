"""Which two questions an image is asked: drawn by its own id, so that it is always asked the same."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from dermray.vlm.instruct import phrasings

KINDS = ("general", "specific")  # in this order in a request; what a second round asks is `self-instruct`


class Question(NamedTuple):
    """What is asked, and as what it counts."""

    kind: str
    text: str


def questions(row: dict[str, Any]) -> tuple[Question, ...]:
    """One general question, and one of those about the row's modality and source."""
    name = str(row.get("sample_id"))
    return (
        Question("general", drawn(phrasings.GENERAL, f"general {name}")),
        Question("specific", drawn(specific(row), f"specific {name}")),
    )


def specific(row: dict[str, Any]) -> tuple[str, ...]:
    """The phrasings that fit a row's modality, and its source where that has some of its own.

    An image of unknown modality is asked what fits any: a source's own words suppose what it holds.
    """
    modality = phrasings.BY_MODALITY.get(str(row.get("modality")))
    if modality is None:
        return phrasings.EITHER
    return modality + phrasings.BY_SOURCE.get(str(row.get("source")), ())


def drawn(family: Sequence[str], name: str) -> str:
    """One of a family: equal names draw equal ones, different names independently."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return family[number % len(family)]
