"""How many images are asked of each cell, and whether its captions can vary so many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dermray.synthesis.plan_settings import AsData, Exact, FillUp, Plan

MOST = 1 << 31  # requests of a plan: `Deal` multiplies two numbers of them in 64 bits
NAMED = 5  # cells that an error names


@dataclass(frozen=True)
class CellCounts:
    """What there is of a cell, and what is asked of it."""

    name: str
    real: int  # usable rows of the train split: those that the generator learned from
    captions: int  # of these, those that can be prompts
    asked: int = 0


def asked(plan: Plan, count: int | None, real: Sequence[int]) -> np.ndarray:
    """Images of each cell, (cells,) int64.

    Args:
        count: images in all, where the plan does not say it. real: rows of each cell; all have some.

    Raises:
        ValueError: nothing is to be drawn, or more than can be counted.
    """
    _require_countable(plan, count, len(real))
    numbers = np.array(real, np.int64)
    if isinstance(plan, Exact):
        wanted = np.array([cell.count for cell in plan.cells], np.int64)
    elif isinstance(plan, FillUp):
        wanted = np.maximum(plan.to - numbers, 0)
    elif isinstance(plan, AsData):
        wanted = in_proportion(count or 0, numbers)
    else:
        wanted = np.full(len(real), (count or 0) // len(real), np.int64)
        wanted[: (count or 0) % len(real)] += 1
    if not wanted.sum():
        raise ValueError(f"plan: every cell has at least {numbers.min()} real rows; nothing to draw: raise plan.to")
    _require_few(int(wanted.sum()))
    return wanted


def _require_countable(plan: Plan, count: int | None, cells: int) -> None:
    """What a config asks for may not fit into 64 bits: numpy would overflow before the sum is looked at."""
    if isinstance(plan, Exact):
        _require_few(sum(cell.count for cell in plan.cells))
    elif isinstance(plan, FillUp):
        if plan.to >= 2 * MOST:  # no cell has so many real rows
            _require_few(plan.to * cells)
    else:
        _require_few(count or 0)


def _require_few(images: int) -> None:
    if images >= MOST:
        raise ValueError(f"plan: {images} images; expected fewer than {MOST}: make several results")


def in_proportion(count: int, weights: np.ndarray) -> np.ndarray:
    """`count` shared out by weights: each share rounded down, then one more for those that lost most by it."""
    whole, rest = np.divmod(weights * count, weights.sum())
    whole[np.argsort(-rest, kind="stable")[: count - int(whole.sum())]] += 1
    shares: np.ndarray = whole
    return shares


def require_variety(cells: Sequence[CellCounts], images_per_caption: int) -> None:
    """Refuse to draw images that differ in their noise alone.

    Raises:
        ValueError: more images are asked of a cell than its captions can vary.
    """
    few = [cell for cell in cells if cell.asked > cell.captions * images_per_caption]
    if not few:
        return
    told = "; ".join(f"{c.name}: {c.asked} images of {c.captions} captions" for c in few[:NAMED])
    needed = max(-(-c.asked // max(1, c.captions)) for c in few)
    raise ValueError(
        f"plan: {len(few)} of {len(cells)} cells have too few captions for images_per_caption={images_per_caption}: "
        f"{told}{'; ...' if len(few) > NAMED else ''}. Ask for fewer images, take cells together (fewer attributes in "
        f"plan.over), or set images_per_caption={needed}, if images that differ in little but their noise will do"
    )
