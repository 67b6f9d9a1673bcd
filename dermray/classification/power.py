"""What a sweep could have seen, and what a larger one would."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import nct
from scipy.stats import t as student

from dermray.statistics import LEVEL, Components

POWER = 0.8


def smallest_difference(standard_error: float, degrees: float, alpha: float = 1 - LEVEL, power: float = POWER) -> float:
    """The true difference that a two-sided test at `alpha` finds with probability `power`, by the noncentral t.

    Args:
        standard_error: of the difference. degrees: of freedom of that standard error.
    """
    critical = float(student.isf(alpha / 2, degrees))

    def missing(shift: float) -> float:
        return float(nct.sf(critical, degrees, shift)) - power

    upper = 2 * critical + 10  # more than enough: half of the critical value's own spread is below it
    return standard_error * float(brentq(missing, 0, upper))


def planned(
    components: Components, runs: Sequence[int], clusters: Sequence[int], alpha: float = 1 - LEVEL
) -> list[dict[str, Any]]:
    """The smallest difference of sweeps of other sizes, from the variances that one sweep measured.

    Args:
        components: of a paired difference, see `statistics.crossed`. runs: numbers of seeds, at least 2, rising.
            clusters: numbers of leak groups of the test set, rising.
    """
    told = np.array(
        [
            [smallest_difference(components.standard_error(u, g), components.degrees(u, g), alpha) for g in clusters]
            for u in runs
        ]
    )
    # More test images leave the error to the few seeds, and so fewer degrees of freedom: they do no harm for that.
    told = np.minimum.accumulate(told, axis=1)
    return [
        {"seeds": u, "clusters": g, "difference": float(told[i, j])}
        for i, u in enumerate(runs)
        for j, g in enumerate(clusters)
    ]


def power_line(difference: float, images: int, clusters: int, seeds: int, metric: str) -> str:
    """What could not have been seen, as a sentence. Metrics lie in [0, 1], and so a difference is below one."""
    size = f"With {images} test images of {clusters} leak groups and {seeds} seeds, "
    if difference >= 1:
        return f"{size}no difference in {metric} could have been seen."
    return (
        f"{size}a difference below {difference:.3f} {metric} could not have been seen: fewer than four of five such "
        f"sweeps would find it."
    )
