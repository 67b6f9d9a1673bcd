"""How far scores shift where one attribute changes, beside how far another seed shifts them, and what that says.

A shift is the score of one picture of a lesion less that of another. Intervals are over lesions, those of one leak
group together. Pairs of values are compared by their mean shift, which is zero where the attribute does not matter. To
say that it does not takes intervals within the tolerance (an equivalence test), not merely a large p.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from dermray.classification.audit.wording import Attribute
from dermray.statistics import LEVEL, crossed, holm, replicates

DEPENDS, INDEPENDENT, UNDECIDED = "depends on it", "does not depend on it", "not decided"
RESAMPLES = 1000
FAINT = 1.0  # of 255 levels: pictures that differ by less, root mean square, show no change


@dataclass(frozen=True)
class Scored:
    """Scores of N lesions' pictures, and how much each picture differs from the lesion's own."""

    leak_groups: Sequence[str]
    own: np.ndarray  # (N,) of the lesion as its prompt says
    other_seed: np.ndarray  # (N,)
    by_value: dict[str, np.ndarray]  # of an attribute (N, V), in the order of its values
    other_seed_change: np.ndarray  # (N,) root mean square over pixels, of 255 levels
    change: dict[str, np.ndarray]  # of an attribute (N,), the same, the mean over its other values


def analyse(scored: Scored, attributes: Sequence[Attribute], tolerance: float, seed: int) -> dict[str, Any]:
    """Floor, and of each attribute its pairs of values and its verdict: plain data.

    Args:
        tolerance: a mean shift below it counts as none.

    Raises:
        ValueError: fewer than two leak groups.
    """
    if (groups := len(set(scored.leak_groups))) < 2:
        raise ValueError(
            f"{len(scored.own)} lesions of {groups} leak groups have scores: expected at least two leak groups; draw "
            "more lesions, or see why they failed (reason, in the rows)"
        )
    floor = measured(scored.other_seed - scored.own, scored.leak_groups, seed)
    told = {attribute.name: _pairs(scored, attribute, seed) for attribute in attributes}
    pairs = [pair for of_attribute in told.values() for pair in of_attribute]
    for pair, p in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["corrected_p"] = p
    return {
        "lesions": len(scored.own),
        "leak_groups": groups,
        "tolerance": tolerance,
        "floor": floor | {"change": float(scored.other_seed_change.mean())},
        "attributes": {
            attribute.name: judged(
                attribute, told[attribute.name], float(scored.change[attribute.name].mean()), tolerance
            )
            for attribute in attributes
        },
    }


def _pairs(scored: Scored, attribute: Attribute, seed: int) -> list[dict[str, Any]]:
    """Of an attribute's values, each pair once."""
    values, scores = attribute.values, scored.by_value[attribute.name]
    return [
        {"from": values[a], "to": values[b], **measured(scores[:, b] - scores[:, a], scored.leak_groups, seed)}
        for a, b in combinations(range(len(values)), 2)
    ]


def measured(shifts: np.ndarray, leak_groups: Sequence[str], seed: int) -> dict[str, float]:
    """Mean and spread (standard deviation) of (N,) shifts, with 95% intervals, and the p of a mean of zero."""

    def moments(weights: np.ndarray) -> np.ndarray:
        """(2, R)."""
        total = weights.sum(1)
        mean = weights @ shifts / total
        square = (weights * (shifts - mean[:, None]) ** 2).sum(1)
        return np.stack([mean, np.sqrt(square / np.maximum(total - 1, 1))])

    again = replicates(moments, leak_groups, RESAMPLES, seed)
    mean = crossed(np.array([shifts.mean()]), again[:1], len(set(leak_groups)))
    low, high = np.quantile(again[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {
        "mean": mean.mean, "low": mean.low, "high": mean.high, "p": mean.p,
        "spread": float(shifts.std(ddof=1)), "spread_low": float(low), "spread_high": float(high),
    }  # fmt: skip


def judged(attribute: Attribute, pairs: list[dict[str, Any]], change: float, tolerance: float) -> dict[str, Any]:
    """An attribute's verdict, and the sentence that says it.

    Args:
        pairs: of its values, with `corrected_p`. change: of the pictures, see `Scored`.
    """
    shifted = [p for p in pairs if p["corrected_p"] < 1 - LEVEL and abs(p["mean"]) > tolerance]
    largest = "the largest mean shift is " + _signed(max(pairs, key=_size))
    if change < FAINT:
        verdict, why = UNDECIDED, f"pictures hardly change ({change:.1f} of 255 levels): the generator does not draw it"
    elif shifted:
        verdict, why = DEPENDS, f"the same lesion scores {_step(max(shifted, key=_size))}"
    elif all(-tolerance < pair["low"] and pair["high"] < tolerance for pair in pairs):
        verdict, why = INDEPENDENT, f"all intervals lie within {tolerance:g}; {largest}"
    else:
        verdict, why = UNDECIDED, f"{tolerance:g} can be neither shown nor excluded, draw more lesions; {largest}"
    return {"verdict": verdict, "change": change, "pairs": pairs, "sentence": f"{attribute.title}: {verdict}: {why}"}


def _size(pair: dict[str, Any]) -> float:
    return abs(float(pair["mean"]))


def _step(pair: dict[str, Any]) -> str:
    """One pair in words, as a positive number."""
    sign, more = (1, "higher") if pair["mean"] > 0 else (-1, "lower")
    low, high = sorted((sign * pair["low"], sign * pair["high"]))
    return (
        f"{sign * pair['mean']:.3f} {more} as {pair['to']} than as {pair['from']} "
        f"(95% interval {low:.3f} to {high:.3f})"
    )


def _signed(pair: dict[str, Any]) -> str:
    return f"{pair['mean']:+.3f} from {pair['from']} to {pair['to']} ({pair['low']:+.3f} to {pair['high']:+.3f})"
