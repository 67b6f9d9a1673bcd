"""Did the sweep come out? Paired differences between arms, with intervals and corrected tests, in plain words.

Controls say whether the experiment can show anything: their direction is known, each must come out, and so each is
judged by its own 95% interval. All other comparisons with real images alone are one family, corrected together (Holm),
because whichever of them came out by chance would be the one reported.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dermray.classification.held_out import Resampled, runs
from dermray.classification.power import smallest_difference
from dermray.statistics import LEVEL, Estimate, crossed, holm

BASELINE = "baseline"  # the role of real images alone: 1:0
ZERO_SHOT = "zero-shot"  # of a model that was not trained here: it has no pairs, so it is compared with nothing
NEGATIVE, POSITIVE = CONTROLS = ("negative control", "positive control")
ALL_BACKBONES = "all"
ALPHA = 1 - LEVEL


@dataclass(frozen=True)
class Comparison:
    """A metric of the better arm less that of the worse one, over pairs of the same seed and backbone."""

    better: str  # what is expected to be
    worse: str
    role: str  # of the arm beside the baseline
    ratio: float  # and its synthetic images a real one
    source: str  # and whose these are
    real_images: int
    backbone: str  # or `all`: their mean
    pairs: int  # seed x backbone (x split)
    won: int  # pairs in which `better` was better
    estimate: Estimate  # over test images (by leak group) and seeds together
    corrected_p: float  # two-sided, of its family
    tests: int = 1  # in that family

    @property
    def control(self) -> bool:
        """Whether it tells if the experiment can show anything."""
        return self.role in CONTROLS

    @property
    def claim(self) -> str:
        """What was expected, in words."""
        text = f"{self.better} better than {self.worse}"
        return f"{self.role}: {text}" if self.control else text

    @property
    def came_out(self) -> bool:
        """Whether the difference is above zero and is no chance."""
        return self.estimate.mean > 0 and self.corrected_p < ALPHA

    @property
    def harmful(self) -> bool:
        """Whether it is below zero and is no chance."""
        return self.estimate.mean < 0 and self.corrected_p < ALPHA

    @property
    def smallest_seen(self) -> float:
        """A true difference of this size comes out in four of five such sweeps; with many tests it must be larger."""
        return smallest_difference(self.estimate.standard_error, self.estimate.degrees, ALPHA / self.tests)

    def as_dict(self) -> dict[str, Any]:
        """For a manifest."""
        told = ("claim", "control", "came_out", "harmful", "smallest_seen")
        row = asdict(self)
        return row | row.pop("estimate") | {name: getattr(self, name) for name in told}


def compare(resampled: Sequence[Resampled], clusters: int, by_backbone: bool = False) -> list[Comparison]:
    """Every arm against real images alone, controls first.

    Args:
        resampled: all classifiers on one test set. clusters: its leak groups. by_backbone: each by itself, else their
            mean.

    Raises:
        ValueError: no baseline, arms that were not run on the same seeds and backbones, or fewer than two runs.
    """
    comparisons = [
        comparison
        for backbone, chosen in _cells(resampled, by_backbone)
        for comparison in _against_baseline(chosen, backbone, clusters)
    ]
    family = [comparison for comparison in comparisons if not comparison.control]
    corrected = holm([comparison.estimate.p for comparison in family])
    return [comparison for comparison in comparisons if comparison.control] + [
        replace(comparison, corrected_p=p, tests=len(family)) for comparison, p in zip(family, corrected, strict=True)
    ]


def controls_came_out(comparisons: Sequence[Comparison]) -> bool | None:
    """Whether all controls did; None where there are none."""
    controls = [comparison.came_out for comparison in comparisons if comparison.control]
    return all(controls) if controls else None


def _cells(resampled: Sequence[Resampled], by_backbone: bool) -> Iterator[tuple[str, list[Resampled]]]:
    """Of one number of real images, and of one backbone or all."""
    for few in sorted({r.scored.real_images for r in resampled}):
        of_few = [r for r in resampled if r.scored.real_images == few]
        if not by_backbone:
            yield ALL_BACKBONES, of_few
            continue
        for backbone in dict.fromkeys(r.scored.backbone for r in of_few):
            yield backbone, [r for r in of_few if r.scored.backbone == backbone]


def _against_baseline(resampled: list[Resampled], backbone: str, clusters: int) -> Iterator[Comparison]:
    arms = {arm: {r.scored.pair: r for r in resampled if r.scored.arm == arm} for arm in _arms(resampled)}
    bases = [arm for arm, role in _arms(resampled).items() if role == BASELINE]
    if len(bases) != 1:
        raise ValueError(f"expected one arm of role {BASELINE!r}, got {bases or 'none'} among {list(arms)}")
    for arm, role in _arms(resampled).items():
        if arm != bases[0]:
            high, low = (bases[0], arm) if role == NEGATIVE else (arm, bases[0])
            about = next(iter(arms[arm].values())).scored
            estimate, won = _paired(arms[high], arms[low], clusters)
            yield Comparison(
                high, low, role, about.ratio, about.source, about.real_images, backbone, len(arms[arm]), won, estimate,
                corrected_p=estimate.p,
            )  # fmt: skip


def _arms(resampled: Sequence[Resampled]) -> dict[str, str]:
    """Roles of arms, in the order in which they come."""
    return {r.scored.arm: r.scored.role for r in resampled}


def _paired(high: dict[Any, Resampled], low: dict[Any, Resampled], clusters: int) -> tuple[Estimate, int]:
    """The mean difference, and how many pairs the first one won."""
    names = [next(iter(side.values())).scored.arm for side in (high, low)]
    if high.keys() != low.keys():
        raise ValueError(f"{names[0]!r} and {names[1]!r} were not run on the same seeds and backbones")
    differences = [
        Resampled(above.scored, above.value - low[pair].value, above.again - low[pair].again)
        for pair, above in sorted(high.items())
    ]
    values, again = zip(*runs(differences), strict=True)
    if len(values) < 2:
        raise ValueError(f"{names[0]!r} and {names[1]!r}: one seed has no interval; expected at least two seeds")
    return crossed(np.array(values), np.array(again), clusters), sum(d.value > 0 for d in differences)
