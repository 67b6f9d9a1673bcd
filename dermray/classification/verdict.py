"""Did the sweep come out? Paired differences between arms, with intervals, in plain words."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import ttest_rel

from dermray.classification.arms import BASELINE, NEGATIVE, POSITIVE, TREATMENT

EXPECTED = (
    (BASELINE, NEGATIVE, "negative control: shuffled labels do worse than real images alone"),
    (TREATMENT, BASELINE, "synthetic images help: real + synthetic 1:2 does better than real images alone"),
    (POSITIVE, TREATMENT, "positive control: more real images do better than synthetic ones"),
    (POSITIVE, BASELINE, "positive control: more real images do better than few"),
)


@dataclass(frozen=True)
class Comparison:
    """AUC of the better arm less that of the worse one, over pairs of the same seed and backbone."""

    better: str
    worse: str
    claim: str
    pairs: int
    mean: float
    low: float  # 95% interval of the mean, Student's t over pairs
    high: float
    won: int  # pairs in which `better` was better

    @property
    def came_out(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low > 0

    def as_dict(self) -> dict[str, Any]:
        """For a manifest."""
        return asdict(self) | {"came_out": self.came_out}


def compare(trials: list[dict[str, Any]]) -> list[Comparison]:
    """The expected orders, each judged.

    Args:
        trials: with arm, backbone, seed and auc.

    Raises:
        ValueError: an arm lacks a pair.
    """
    auc: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    for trial in trials:
        auc[trial["arm"]][(trial["backbone"], trial["seed"])] = trial["auc"]
    return [_paired(auc[better], auc[worse], better, worse, claim) for better, worse, claim in EXPECTED]


def _paired(
    high: dict[tuple[str, int], float], low: dict[tuple[str, int], float], better: str, worse: str, claim: str
) -> Comparison:
    if high.keys() != low.keys() or len(high) < 2:  # one pair has no interval
        raise ValueError(f"{better!r} and {worse!r} were not run on the same seeds and backbones, at least two pairs")
    above, below = (np.array([aucs[pair] for pair in sorted(high)]) for aucs in (high, low))
    interval = ttest_rel(above, below).confidence_interval(0.95)
    mean, won = float(np.mean(above - below)), int((above > below).sum())
    return Comparison(better, worse, claim, len(high), mean, float(interval.low), float(interval.high), won)
