"""Counts of an export in Markdown tables."""

from collections.abc import Iterable
from typing import Any

from dermray.datasets.counts import LABELS
from dermray.publishing.facts import Facts
from dermray.publishing.plan import NAMES
from dermray.publishing.survey import MISSING

UNKNOWN = "unknown"
Crossed = dict[Any, dict[Any, int]]  # what, by a column of the table


def counted(facts: Facts) -> str:
    """By label, entity, tone, modality and sex in each split; labels by tone; what is not known."""
    missing = [(name, facts.survey.missing[name], _share(facts.survey.missing[name], facts.rows)) for name in MISSING]
    parts = [
        _by_split(facts, "label", {LABELS[label]: by for label, by in _crossed(facts, "split", "malignant").items()}),
        _by_split(facts, "entity", _crossed(facts, "split", "entity")),
        _by_split(facts, "skin tone", _tones(facts)),
        _by_split(facts, "modality", _crossed(facts, "split", "modality")),
        _by_split(facts, "sex", _crossed(facts, "split", "sex")),
        _labels_by_tone(facts),
        table(("not known of", "images", "share"), missing),
    ]
    return "\n\n".join(["## Counts", *parts])


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A head and lines."""
    lines = [list(map(text, head)), *(list(map(text, row)) for row in rows)]
    rule = ["---"] * len(lines[0])
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:]))


def text(value: object) -> str:
    """In one line or cell, whatever a source calls itself."""
    return " ".join(str(value).replace("|", "\\|").replace("<", "&lt;").split())


def _crossed(facts: Facts, columns: str, *names: str) -> Crossed:
    """Counts by a value of `names`, and in it by one of `columns`; what is unknown comes last."""
    found: Crossed = {}
    for (*values, column), number in sorted(facts.survey.by(*names, columns).items(), key=_unknown_last):
        found.setdefault(values[0] if len(values) == 1 else tuple(values), {})[column] = number
    return found


def _unknown_last(item: tuple[tuple[Any, ...], int]) -> list[tuple[bool, str]]:
    return [(value is None, str(value)) for value in item[0]]


def _tones(facts: Facts) -> Crossed:
    """Estimated ones apart."""
    found = _crossed(facts, "split", "skin_tone", "skin_tone_source").items()
    return {f"{tone or UNKNOWN}{', estimated' if source == 'estimated' else ''}": by for (tone, source), by in found}


def _labels_by_tone(facts: Facts) -> str:
    by_tone = _crossed(facts, "malignant", "skin_tone").items()
    rows = [(tone or UNKNOWN, *(by.get(label, 0) for label in LABELS)) for tone, by in by_tone]
    return table(("skin tone", *LABELS.values()), rows)


def _by_split(facts: Facts, what: str, counts: Crossed) -> str:
    splits = facts.survey.splits
    rows = [
        (UNKNOWN if name is None else name, *(by.get(split, 0) for split in splits), sum(by.values()))
        for name, by in counts.items()
    ]
    head = (what, *(NAMES[split] for split in splits), "all")
    return table(head, [*rows, ("all", *splits.values(), facts.rows)])


def _share(number: int, total: int) -> str:
    return f"{100 * number / total:.1f}%"
