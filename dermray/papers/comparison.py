"""A paper's numbers, each beside those of ours that measure the same."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dermray.papers.differences import Scale, absent, reasons
from dermray.papers.measured import Measured
from dermray.papers.published import Cell, Paper
from dermray.papers.stages.sweep import ONLY

ALL = "all"  # sources together
EITHER = "|"  # between the values that a cell's `ours` accepts


@dataclass(frozen=True)
class Row:
    """A number of the paper, and one of ours; several of ours may measure it, in different ways or stages."""

    cell: Cell
    ours: Measured | None
    reasons: tuple[str, ...]  # why they cannot be compared

    @property
    def comparable(self) -> bool:
        """Whether the two say the same thing of the same thing."""
        return not self.reasons

    @property
    def inside(self) -> bool | None:
        """Whether the paper's number, as far as it was rounded, lies in our interval; None where nobody can tell."""
        if not self.comparable or self.ours is None or self.ours.low is None or self.ours.high is None:
            return None
        value, rounding = self.cell.value, self.cell.rounding
        assert value is not None and rounding is not None  # else there is a reason
        return self.ours.low - rounding <= value <= self.ours.high + rounding


def compare(paper: Paper, ours: Iterable[Measured], scale: Scale) -> list[Row]:
    """A row for each pair of a paper's number and one of ours, and for each of the paper's that has none.

    Args:
        scale: of the run that ours are of.
    """
    known = list(ours)
    return [row for cell in paper.cells() for row in _rows(cell, known, scale)]


def _rows(cell: Cell, ours: Sequence[Measured], scale: Scale) -> Iterator[Row]:
    unread = [cell.unread] if cell.unread else []
    found = [] if cell.no_stage else [measured for measured in ours if matches(cell.ours, measured.where)]
    for measured in found:
        lacking = ["ours was not computed"] if measured.value is None else []
        yield Row(cell, measured, tuple(dict.fromkeys([*unread, *lacking, *reasons(cell, measured, scale)])))
    if not found:
        yield Row(cell, None, (*unread, *absent(cell, _held(cell, ours))))


def _held(cell: Cell, ours: Sequence[Measured]) -> list[str]:
    """Sources that results of its stage tell of."""
    wheres = [each.where for each in ours if cell.ours and each.where["stage"] == cell.ours["stage"]]
    return [name for name in dict.fromkeys(where.get("source", ALL) for where in wheres) if name not in (ALL, ONLY)]


def matches(wanted: Mapping[str, str], where: Mapping[str, str]) -> bool:
    """Whether a number of ours is one that the paper's stands for."""
    return all(where.get(name) in value.split(EITHER) for name, value in wanted.items())


def unproducible(paper: Paper) -> list[Cell]:
    """Numbers of the paper that no stage writes yet."""
    return [cell for cell in paper.cells() if cell.no_stage]
