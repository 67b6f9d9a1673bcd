"""Which images are shown: as many of every class and kind, no two of them of one lesion or one prompt.

Everything is drawn by hashes of the seed and an id, so the same rows give the same images however they lie in files.
What is kept of the rows is a few candidates a class, not the rows.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.classification.targets import UNKNOWN, Target
from dermray.columns import batches
from dermray.picked import FILE
from dermray.row_files import RowFiles

SHOWN = 8  # values of a column in an error
SPARE = 64  # candidates more than are kept before the worst are let go


@dataclass(frozen=True)
class Source:
    """Where one kind of images comes from."""

    kind: str  # AI or original
    count: int  # of each class
    rows: RowFiles
    where: Any  # pyarrow filter over `columns`
    columns: tuple[str, ...]  # what the filter needs
    group: str  # column: no two images of one value are shown; null is a value of its own
    least_side: int = 1  # px: the shorter side of smaller images would be blurred by enlarging them
    mend: str = ""  # what a user can do where there are too few


@dataclass(frozen=True)
class Candidate:
    """A row that may be shown."""

    drawn: str  # hash of the seed and the group: candidates with the least are taken
    within: str  # ... and the row, which decides inside a group
    number: int  # of its class
    row: dict[str, Any]


def choose(source: Source, target: Target, seed: int) -> list[Candidate]:
    """`count` rows of every class.

    Groups may lie in several classes. Those with fewest candidates choose first, so a group goes where it is missed.

    Raises:
        ValueError: too few of a class; names all such classes, what they have and need.
    """
    kept, small, others = _candidates(source, target, seed)
    chosen, taken, short = list[Candidate](), set[str](), list[str]()
    for number in sorted(kept, key=lambda number: (len(kept[number]), number)):
        free = [candidate for candidate in kept[number] if candidate.drawn not in taken]
        if len(free) < source.count:
            note = f" ({small[number]} more are smaller than {source.least_side} px)" if small[number] else ""
            short.append(f"{target.classes[number]}: has {len(free)}{note}, needs {source.count}")
        chosen += free[: source.count]
        taken |= {candidate.drawn for candidate in free[: source.count]}
    if short:
        different = {"leak_group": " of different lesions", "prompt_sample_id": " of different captions"}
        told = f"too few {source.kind} images{different.get(source.group, '')}: {'; '.join(sorted(short))}. "
        if others and any(not kept[number] and not small[number] for number in kept):
            words = ", ".join(word for word, _ in others.most_common(SHOWN))
            raise ValueError(
                f"{told}Of column {target.column} there is also: {words}; name your classes with `classes`"
            )
        raise ValueError(told + source.mend)
    return sorted(chosen, key=lambda candidate: (candidate.number, candidate.drawn))


class _First:
    """Of one class the groups that are drawn first, each with its first row."""

    def __init__(self, most: int) -> None:
        self.most, self.kept = most, dict[str, Candidate]()
        self.last = "z"  # of those that can still be among them; hexadecimal digits come before it

    def add(self, one: Candidate) -> None:
        known = self.kept.get(one.drawn)
        if known is None or one.within < known.within:
            self.kept[one.drawn] = one
        if len(self.kept) > self.most + SPARE:
            self.kept = {each.drawn: each for each in self.candidates()}
            self.last = max(self.kept)

    def candidates(self) -> list[Candidate]:
        """In order."""
        return [self.kept[drawn] for drawn in sorted(self.kept)[: self.most]]


def _candidates(
    source: Source, target: Target, seed: int
) -> tuple[dict[int, list[Candidate]], Counter[int], Counter[str]]:
    """Of each class as many groups as it can need: those before it take `count` each at most. Of each class, how many
    rows are too small. And what the column holds that is none of the classes."""
    wanted = ("sample_id", "source", "width", "height", "status", source.group, target.column, FILE, *source.columns)
    where = (pc.field("status") == "ok") & source.where
    first = {number: _First(source.count * len(target.classes)) for number in range(len(target.classes))}
    small, others = Counter[int](), Counter[str]()
    for batch in batches(source.rows, list(dict.fromkeys(wanted)), where):
        numbers = target.numbers(batch[target.column].to_pylist())
        side = pc.min_element_wise(batch["width"], batch["height"]).to_numpy(zero_copy_only=False)
        usable = side >= source.least_side
        strange = pc.drop_null(batch[target.column].filter(pa.array(numbers == UNKNOWN)))
        others.update(map(str, strange.to_pylist()))
        small.update(numbers[~usable].tolist())
        groups, ids = batch[source.group].to_pylist(), batch["sample_id"].to_pylist()
        for place in np.flatnonzero(usable & (numbers != UNKNOWN)).tolist():
            of_class, drawn = first[numbers[place]], hashed(seed, "group", groups[place] or ids[place])
            if drawn <= of_class.last:  # a row is made for few of many
                [row] = batch.slice(place, 1).to_pylist()
                of_class.add(Candidate(drawn, hashed(seed, "row", ids[place]), int(numbers[place]), row))
    return {number: one.candidates() for number, one in first.items()}, small, others


def hashed(seed: int, use: str, name: str) -> str:
    """A number that nobody can tell from a random one without the name; another one for every use."""
    return hashlib.sha256(f"{seed} {use} {name}".encode()).hexdigest()


def table(candidates: Sequence[Candidate]) -> pa.Table:
    """As `picked.images` reads it."""
    return pa.table({name: [candidate.row[name] for candidate in candidates] for name in ("sample_id", FILE)})
