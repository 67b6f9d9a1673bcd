"""A published source's own table of labels, `<source>.yaml` beside this file, for a clinician to review.

    MEL: {entity: mel, malignant: true}
    AK: {entity: akiec}                  # either is left out where the class holds several, or nobody can say
    UNK:                                 # the source's word for "nothing is known"

A word that the table does not know rejects its row: it never becomes benign, and never another's neighbour.
"""

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import TypeAdapter

from dermray import storage
from dermray.config import Config
from dermray.datasets.cells import Cells, plain
from dermray.records import AT

UNKNOWN_LABEL = "label that the source's table of labels does not know"


class Label(NamedTuple):
    """What a word means; None where the source's word says nothing."""

    entity: str | None
    malignant: bool | None


class _Entry(Config):
    entity: Literal["mel", "nv", "bcc", "akiec", "bkl", "df", "vasc", "other"] | None = None
    malignant: bool | None = None


Labels = Mapping[str, Label]  # by the word's plain form


@lru_cache
def labels_of(source: str, more: str | None = None) -> Labels:
    """The reviewed table of a source, with a user's words beside it: of releases that are newer than the table.

    Args:
        more: path or URI of a YAML file in the same form.

    Raises:
        FileNotFoundError, ValueError: no such file, or a word means something else in the source's own table.
    """
    own = files(__package__).joinpath(f"{source}.yaml")
    if not own.is_file():
        raise ValueError(f"more_labels={more}: the source {source} has no table of labels; leave it out")
    labels = parsed(own.read_text(), own.name)
    if more is None:
        return labels
    added = parsed(storage.read_bytes(more).decode(), more)
    if changed := sorted(word for word in added if word in labels and labels[word] != added[word]):
        raise ValueError(f"{more}: {changed} mean something else in the source's own table; leave them out")
    return {**labels, **added}


def parsed(text: str, name: str) -> Labels:
    """A table from its YAML.

    Raises:
        ValueError: it is none, or a word is there twice.
    """
    entries = TypeAdapter(dict[str, _Entry | None]).validate_python(yaml.load(text, _OneOfEach))
    meant: dict[str, Label] = {}
    for word, entry in entries.items():
        if plain(word) in meant:
            raise ValueError(f"{name}: {word!r} is there twice; keep one")
        meant[plain(word)] = Label(entry.entity, entry.malignant) if entry else Label(None, None)
    return meant


def label(cells: Cells, column: str, labels: Labels) -> dict[str, Any]:
    """diagnosis (verbatim), entity and malignant by a cell; status and reason where its word is not in the table."""
    word = cells.text(column)
    if word is None:
        return {"diagnosis": None, "entity": None, "malignant": None}
    meaning = labels.get(plain(word))
    if meaning is None:
        reason = f"{UNKNOWN_LABEL}{AT}{cells.place}: {word!r:.80}"
        return {"diagnosis": word, "entity": None, "malignant": None, "status": "rejected", "reason": reason}
    return {"diagnosis": word, **meaning._asdict()}


class _OneOfEach(yaml.SafeLoader):
    """YAML that takes no key twice, and words as they stand: NO is no boolean."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"line {node.start_mark.line + 1}: {twice} twice; keep one")
        return {key.value: self.construct_object(value, deep) for key, value in node.value}
