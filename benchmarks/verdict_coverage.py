"""How often a sweep's intervals hold the truth, how often a sweep without any effect claims one, and what it finds.

    python -m benchmarks.verdict_coverage [sweeps a line]

Made-up sweeps: scores are drawn from normal distributions, so that the true AUC of every arm is known. Nothing is
trained.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, ttest_1samp

from dermray.classification.held_out import HeldOut, Resampled, Scored, resample
from dermray.classification.verdict import Comparison, compare

RESAMPLES, GROUP_SIZE, BACKBONES = 200, 2, ("x", "y")


@dataclass(frozen=True)
class World:
    """Where scores come from. All effects are standard deviations; the classes lie 1.2 apart in the baseline."""

    seeds: int
    leak_groups: int
    by_seed: float  # of an arm's distance between the classes, the same for all backbones
    by_image: float  # of an image's score in an arm, the same for all seeds: some images an arm cannot learn
    treatments: int = 1
    effect: float = 0.3  # by how much farther the classes lie apart with the treatment

    def auc(self, distance: float) -> float:
        """Its mean over seeds on endless test images."""
        of_pair = 2 * (0.7**2 + self.by_image**2 + 0.5**2)  # variance of the difference of two scores
        return float(norm.cdf(distance / np.sqrt(of_pair + self.by_seed**2)))

    @property
    def truth(self) -> float:
        """The true difference in AUC."""
        return self.auc(1.2 + self.effect) - self.auc(1.2)


def sweep(world: World, number: int) -> tuple[HeldOut, list[Scored]]:
    """One test set and all classifiers on it."""
    rng = np.random.default_rng(number)
    group = np.repeat(np.arange(world.leak_groups), GROUP_SIZE)
    labels = (rng.random(world.leak_groups) < 0.5).astype(np.int64)[group]  # of a patient, one label
    hard = rng.normal(0, 0.7, world.leak_groups)[group]
    scored = []
    for arm in range(world.treatments + 1):
        own = hard + rng.normal(0, world.by_image, world.leak_groups)[group]
        for seed in range(world.seeds):
            distance = 1.2 + world.effect * (arm > 0) + rng.normal(0, world.by_seed)
            for backbone in BACKBONES:
                score = norm.cdf(own + distance * (labels - 0.5) + rng.normal(0, 0.5, len(group)))
                role, probabilities = "mixed" if arm else "baseline", np.stack([1 - score, score], 1)
                scored.append(Scored(f"arm {arm}", role, 100, backbone, seed, probabilities, float(arm)))
    return HeldOut("drawn", ("benign", "malignant"), labels, [str(g) for g in group]), scored


def judged(world: World, sweeps: int) -> Iterator[tuple[list[Resampled], list[Comparison]]]:
    """Every sweep's scores and comparisons."""
    for number in range(sweeps):
        part, scored = sweep(world, number)
        resampled = resample(scored, [part], "auc", RESAMPLES, number)
        yield resampled, compare(resampled, part.clusters)


def others(resampled: list[Resampled], number: int) -> dict[str, tuple[float, float]]:
    """Intervals that are not used: Student's t, and percentiles of leak groups and seeds drawn together."""
    pairs = {r.scored.pair: r for r in resampled if r.scored.arm == "arm 0"}
    differences = [(r, pairs[r.scored.pair]) for r in resampled if r.scored.arm == "arm 1"]
    values = np.array([high.value - low.value for high, low in differences])
    again = np.array([high.again - low.again for high, low in differences])
    seeds = np.array([high.scored.seed for high, _ in differences])
    names = np.unique(seeds)
    by_seed, by_seed_again = (np.array([of[seeds == seed].mean(0) for seed in names]) for of in (values, again))
    drawn = np.random.default_rng(number).integers(0, len(names), (RESAMPLES, len(names)))
    both = [by_seed_again[chosen, turn].mean() for turn, chosen in enumerate(drawn)]
    return {
        "t over seed x backbone": tuple(ttest_1samp(values, 0).confidence_interval()),
        "t over seeds": tuple(ttest_1samp(by_seed, 0).confidence_interval()),
        "percentiles, both drawn": tuple(np.quantile(both, [0.025, 0.975])),
    }


def coverage(world: World, sweeps: int) -> dict[str, float]:
    """Share of 95% intervals that hold the true difference."""
    held: dict[str, list[bool]] = {}
    for number, (resampled, comparisons) in enumerate(judged(world, sweeps)):
        estimate = comparisons[0].estimate
        for name, (low, high) in {"dermray": (estimate.low, estimate.high), **others(resampled, number)}.items():
            held.setdefault(name, []).append(bool(low <= world.truth <= high))
    return {name: float(np.mean(each)) for name, each in held.items()}


def main(sweeps: int) -> None:
    """Print the tables in Markdown."""
    error = np.sqrt(0.95 * 0.05 / sweeps)
    print(f"{sweeps} sweeps a line, of 2 backbones; a line's standard error is {error:.3f} at 0.95.\n")
    names = ["dermray", "t over seed x backbone", "t over seeds", "percentiles, both drawn"]
    print(f"| what varies | seeds | leak groups | {' | '.join(names)} |\n|---|---:|---:|" + "---:|" * len(names))
    for what, by_seed, by_image in (("seeds", 0.3, 0.05), ("test images", 0.02, 0.6), ("both", 0.2, 0.4)):
        for seeds, groups in ((4, 100), (8, 100), (4, 40)):
            held = coverage(World(seeds, groups, by_seed, by_image), sweeps)
            cells = " | ".join(f"{held[name]:.3f}" for name in names)
            print(f"| {what} | {seeds} | {groups} | {cells} |", flush=True)
    rows = [comparisons for _, comparisons in judged(World(4, 100, 0.2, 0.4, treatments=5, effect=0), sweeps)]
    plain = np.mean([any(c.estimate.p < 0.05 for c in row) for row in rows])
    corrected = np.mean([any(c.came_out or c.harmful for c in row) for row in rows])
    print("\nFive treatments without an effect, 4 seeds, 100 leak groups, both vary:")
    print(f"at least one p below 0.05 in {plain:.3f} of sweeps, after Holm's correction in {corrected:.3f}.\n")
    world = World(6, 150, 0.15, 0.3, effect=0.42)
    found = [comparisons[0] for _, comparisons in judged(world, sweeps)]
    seen = np.median([comparison.smallest_seen for comparison in found])
    came_out = np.mean([comparison.came_out for comparison in found])
    print(
        f"A true difference of {world.truth:.3f} AUC, 6 seeds, 150 leak groups: came out in {came_out:.2f} of sweeps."
    )
    print(f"By the median sweep's own line a difference of {seen:.3f} comes out in 0.80.")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
