"""The cells of a plan: which of them a training row is in, and what they are called."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dermray.captioning.compose import ENTITY_NAMES
from dermray.synthesis.plan_settings import CellCount, Exact, Plan
from dermray.where import AGE_BAND, matches, value

# What a row has in each of the attributes, or the number of a cell of an exact plan.
Cell = tuple[str | bool | int | None, ...]
_TITLES = {"malignant": "label", "skin_tone": "skin tone", AGE_BAND: "age"}


@dataclass(frozen=True)
class Over:
    """A cell for each combination of values. Rows without a value in one of `known` are in none."""

    attributes: tuple[str, ...]
    known: frozenset[str]

    def of(self, row: dict[str, Any]) -> Sequence[Cell]:
        """The cells that a row is in."""
        cell = tuple(value(row, name) for name in self.attributes)
        lost = any(found is None and name in self.known for name, found in zip(self.attributes, cell, strict=True))
        return [] if lost else [cell]

    def name(self, cell: Cell) -> str:
        """A cell in words."""
        return ", ".join(_in_words(name, found) for name, found in zip(self.attributes, cell, strict=True))


@dataclass(frozen=True)
class Listed:
    """A cell for each place of a list."""

    wanted: tuple[CellCount, ...]

    def of(self, row: dict[str, Any]) -> Sequence[Cell]:
        """The cells that a row is in."""
        return [(number,) for number, cell in enumerate(self.wanted) if matches(cell.where, row)]

    def name(self, cell: Cell) -> str:
        """A cell in words."""
        where = self.wanted[int(cell[0] or 0)].where
        return ", ".join(" or ".join(_in_words(name, found) for found in where[name]) for name in where)


Cells = Over | Listed


def cells_of(plan: Plan) -> Cells:
    """The cells of a plan."""
    return Listed(plan.cells) if isinstance(plan, Exact) else Over(plan.over, plan.known)


def in_order(cell: Cell) -> tuple[tuple[bool, str | int], ...]:
    """What cells are sorted by: unknown values first."""
    return tuple((found is not None, found if isinstance(found, int) else found or "") for found in cell)


def _in_words(attribute: str, found: Any) -> str:
    title = _TITLES.get(attribute, attribute)
    if found is None or found == "unknown":
        return f"{title} unknown"
    if attribute == "malignant":
        return "malignant" if found else "benign"
    if attribute == "entity":
        return ENTITY_NAMES.get(found, "another entity")
    return str(found) if attribute in ("sex", "site", "modality", "diagnosis") else f"{title} {found}"
