"""A figure of a plan, which says what it rests on. What is made of several is no surer than the least sure of them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Basis = Literal["measured", "computed", "published", "assumed", "unknown"]
Bound = Literal["", "at most", "at least", "about"]
SURENESS: tuple[Basis, ...] = ("measured", "computed", "published", "assumed", "unknown")  # the surest first


@dataclass(frozen=True)
class Figure:
    """A number, what kind of knowledge it is, and where it comes from.

    Args:
        value: None where it is unknown.
        why: the source, the formula, or what is missing to know it.
        bound: "at most" and "at least" where the true value cannot be known before; "about" where neither holds.
    """

    value: float | None
    basis: Basis
    why: str
    bound: Bound = ""

    def __post_init__(self) -> None:
        """An unknown figure has no value, and any other has one."""
        assert (self.value is None) == (self.basis == "unknown"), self
        assert self.value is None or math.isfinite(self.value), self


def unknown(why: str) -> Figure:
    """Nothing is known, and why."""
    return Figure(None, "unknown", why)


def measured(value: float, why: str) -> Figure:
    """Counted in a result that is there, or timed by a benchmark of ours."""
    return Figure(value, "measured", why)


def computed(value: float, why: str) -> Figure:
    """Follows from the config."""
    return Figure(value, "computed", why)


def assumed(value: float, why: str) -> Figure:
    """Nobody says it."""
    return Figure(value, "assumed", why)


def product(figures: Sequence[Figure], why: str) -> Figure:
    """All of them multiplied; unknown where one is."""
    if missing := [figure for figure in figures if figure.value is None]:
        return unknown(missing[0].why)
    value = math.prod(figure.value for figure in figures if figure.value is not None)
    return Figure(value, _least_sure(figures), why, _joined(figures))


def total(figures: Sequence[Figure], why: str) -> Figure:
    """All of them added: at least so much where some are unknown, unknown where all are."""
    known = [figure for figure in figures if figure.value is not None]
    if not known and figures:
        return unknown(figures[0].why)
    value = sum(figure.value for figure in known if figure.value is not None)
    bound = _joined(known)
    if len(known) < len(figures):
        bound = "at least" if bound in ("", "at least") else "about"
    return Figure(value, _least_sure(known), why, bound)


def at_most(figure: Figure, why: str = "") -> Figure:
    """The same as an upper bound; another's sum or share may be one for a reason of its own."""
    if figure.value is None:
        return figure
    bound: Bound = "at most" if figure.bound in ("", "at most") else "about"
    return Figure(figure.value, figure.basis, why or figure.why, bound)


def _least_sure(figures: Iterable[Figure]) -> Basis:
    return max((figure.basis for figure in figures), key=SURENESS.index, default="computed")


def _joined(figures: Iterable[Figure]) -> Bound:
    bounds = {figure.bound for figure in figures} - {""}
    return bounds.pop() if len(bounds) == 1 else "about" if bounds else ""
