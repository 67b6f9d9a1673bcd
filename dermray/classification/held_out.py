"""What a sweep hands to its statistics: sets of held-out images, and what each classifier said of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dermray.classification.metrics import resampled_value
from dermray.statistics import replicates


@dataclass(frozen=True)
class HeldOut:
    """Images that no classifier was trained on: a test set, or a validation split."""

    name: str
    classes: tuple[str, ...]  # columns of the probabilities; binary is (benign, malignant)
    labels: np.ndarray  # (N,) int64 class numbers
    leak_groups: list[str]  # N
    attributes: dict[str, list[str]] = field(default_factory=dict)  # skin tone, sex, ...: N names, see fairness.py
    split: int = 0  # of several splits of the same data
    patients_known: bool = False  # of all these images, and of those in training and validation

    def __post_init__(self) -> None:
        lengths = {"labels": len(self.labels), "leak_groups": len(self.leak_groups)}
        lengths |= {name: len(values) for name, values in self.attributes.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"test set {self.name!r}: expected as many of each, got {lengths}")

    @property
    def clusters(self) -> int:
        """How many leak groups there are."""
        return len(set(self.leak_groups))


@dataclass(frozen=True)
class Scored:
    """One classifier on one held-out set."""

    arm: str
    role: str  # baseline, mixed, synthetic only, negative control, positive control or zero-shot
    real_images: int  # the few of this cell of the sweep, also where the arm uses none of them; zero-shot: 0
    backbone: str
    seed: int
    probabilities: np.ndarray  # (N, C) float64, scaled where a temperature was fitted; a memory map will do
    ratio: float = 0  # synthetic images a real one
    source: str = ""  # of the synthetic images, where a sweep compares several
    threshold: float = 0.5  # of the positive class, chosen on the validation split
    split: int = 0
    trained_on: tuple[int, int] | None = None  # how many real and synthetic images; None where nobody says

    @property
    def pair(self) -> tuple[int, int, str]:
        """What two arms must share to be compared."""
        return self.split, self.seed, self.backbone


@dataclass(frozen=True)
class Resampled:
    """A classifier's metric on its test set, and on R resamples of the test set's leak groups."""

    scored: Scored
    value: float
    again: np.ndarray  # (R,)


def resample(
    scored: Sequence[Scored],
    held_out: Sequence[HeldOut],
    metric: str,
    resamples: int,
    seed: int,
    attribute: str = "",
    group: str = "",
) -> list[Resampled]:
    """A metric of all classifiers on the same resamples of leak groups: what pairs them.

    Args:
        scored: all on one test set. held_out: that test set, of each split one. A leak group that lies in several
            splits is drawn as often in each.
        metric: see `metrics.RESAMPLED`.
        attribute, group: only images of that group count, such as skin_tone and C; the resamples stay the same.
    """
    clusters, columns, labels, rows = list[str](), {}, {}, {}
    for part in held_out:
        kept = np.array(part.attributes[attribute]) == group if attribute else np.ones(len(part.labels), bool)
        rows[part.split], labels[part.split] = kept, part.labels[kept]
        columns[part.split] = len(clusters) + np.flatnonzero(kept)
        clusters += part.leak_groups
    value = resampled_value(metric)

    def of_all(weights: np.ndarray) -> np.ndarray:
        by_split = {split: weights[:, chosen] for split, chosen in columns.items()}
        return np.array(
            [value(labels[s.split], s.probabilities[rows[s.split]], by_split[s.split], s.threshold) for s in scored]
        )

    point = of_all(np.ones((1, len(clusters))))[:, 0]
    again = replicates(of_all, clusters, resamples, seed)
    return [Resampled(s, float(v), r) for s, v, r in zip(scored, point, again, strict=True)]


def runs(resampled: Sequence[Resampled]) -> Iterator[tuple[float, np.ndarray]]:
    """What is replicated: splits where there are several, else seeds; each the mean over all that it holds.

    Backbones of one seed share their training images, and seeds of one split share all of its images. So they are no
    observations of their own.
    """
    several = len({r.scored.split for r in resampled}) > 1
    units = [r.scored.split if several else r.scored.seed for r in resampled]
    for unit in sorted(set(units)):
        members = [r for r, own in zip(resampled, units, strict=True) if own == unit]
        yield float(np.mean([r.value for r in members])), np.mean([r.again for r in members], axis=0)
