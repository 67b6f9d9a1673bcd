"""What a sweep could have seen, and what a larger one would."""

from collections.abc import Mapping, Sequence
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


def power_line(seen: Mapping[str, float], images: int, clusters: int, runs: str, metric: str) -> str:
    """What can be seen, as a sentence: of the comparison that varies least to that which varies most.

    Args:
        seen: by comparison the smallest difference that comes out in four of five sweeps. runs: such as "3 seeds".
    """
    size = f"With {images} test images of {clusters} leak groups and {runs}, "
    least, most = (choose(seen, key=seen.__getitem__) for choose in (min, max))
    if seen[least] >= 1:  # metrics lie in [0, 1], and so no difference is larger
        return f"{size}no difference in {metric} comes out in four of five such sweeps."
    told = f"a true difference in {metric} comes out in four of five such sweeps from {seen[least]:.3f} on"
    if len(seen) == 1:
        return f"{size}{told} ({least}). Smaller ones come out less often."
    last = "never" if seen[most] >= 1 else f"from {seen[most]:.3f} on"
    return (
        f"{size}{told} in the comparison that varies least, controls aside ({least}), "
        f"and {last} in the one that varies most ({most}). Smaller ones come out less often."
    )
