"""Everything a sweep says of one test set, as data for its manifest and page. No training, no Ray."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dermray.classification.attributes import ATTRIBUTES, UNKNOWN
from dermray.classification.fairness import SMALLEST, fairness, gap_floor
from dermray.classification.held_out import HeldOut, Resampled, Scored, resample, runs
from dermray.classification.metrics import FIXED, RESAMPLED, measure, words
from dermray.classification.power import planned, power_line
from dermray.classification.verdict import (
    ALL_BACKBONES,
    ALPHA,
    BASELINE,
    ZERO_SHOT,
    Comparison,
    compare,
    controls_came_out,
)
from dermray.statistics import Components, crossed

MORE = (1, 2, 4)  # times as many seeds, and as many leak groups, of which the page says what they could show


def analyse(
    scored: Sequence[Scored],
    held_out: Sequence[HeldOut],
    resamples: int,
    seed: int,
    metric: str = "auc",
    attributes: Sequence[str] = ATTRIBUTES,
) -> dict[str, Any]:
    """Arms with intervals, the verdict with its controls, what can be seen, and gaps between groups.

    Args:
        scored: all classifiers on one test set; those of role zero-shot take no part in verdict and power, and their
            intervals cover test images only. held_out: that test set; of several splits each one.
        resamples: of the test set's leak groups. metric: what the verdict is on. attributes: of which gaps are told;
            those of which the test set does not know two groups are left out.

    Raises:
        ValueError: a test set of one class, no baseline, or arms that cannot be paired.
    """
    for part in held_out:
        if len(np.unique(part.labels)) < 2:
            raise ValueError(f"test set {part.name!r}: {len(part.labels)} images of one class or none; expected two")
    clusters = len({group for part in held_out for group in part.leak_groups})
    trained = [s for s in scored if s.role != ZERO_SHOT]
    several, seeds = len({s.backbone for s in trained}) > 1, len({s.seed for s in trained})
    runs_told = ("1 seed" if seeds == 1 else f"{seeds} seeds") + (f" of {len(held_out)} splits" if held_out[1:] else "")
    resampled = {name: resample(scored, held_out, name, resamples, seed) for name in RESAMPLED}
    rows = list(_arms(resampled, held_out, clusters))
    paired = [r for r in resampled[metric] if r.scored.role != ZERO_SHOT]
    verdict = compare(paired, clusters)
    images = sum(len(part.labels) for part in held_out)
    there = [
        name for name in attributes if all(len({*part.attributes.get(name, ())} - {UNKNOWN}) > 1 for part in held_out)
    ]
    return {
        "test_set": held_out[0].name,
        "classes": list(held_out[0].classes),
        "images": images,
        "leak_groups": clusters,
        "patients_known": all(part.patients_known for part in held_out),
        "seeds": seeds,
        "splits": len(held_out),
        "metric": metric,
        "arms": [row for row in rows if row["role"] != ZERO_SHOT],
        "zero_shot": [row for row in rows if row["role"] == ZERO_SHOT],
        "verdict": [comparison.as_dict() for comparison in verdict],
        "differences": [c.as_dict() for c in compare(paired, clusters, by_backbone=True)] if several else [],
        "controls": controls_came_out(verdict),
        "power": _power(verdict, images, clusters, runs_told, metric),
        "fixed": FIXED,
        "smallest_group": SMALLEST,
        "fairness": [
            {"attribute": name} | row
            for name in there
            for row in _gaps(scored, held_out, name, metric, resamples, seed)
        ],
    }


def _arms(
    resampled: dict[str, list[Resampled]], held_out: Sequence[HeldOut], clusters: int
) -> Iterator[dict[str, Any]]:
    """Each arm of each backbone and real count: metrics with intervals, and means over seeds of all others."""
    parts = {part.split: part for part in held_out}
    for cell, members in _cells(next(iter(resampled.values()))):
        measured = [
            measure(parts[s.split].labels, s.probabilities, parts[s.split].classes, s.threshold)
            for s in (member.scored for member in members)
        ]
        row: dict[str, Any] = _means([each["overall"] for each in measured])
        classes = {name: _means([each["classes"][name] for each in measured]) for name in measured[0]["classes"]}
        for name, values in resampled.items():
            chosen, again = zip(*runs([r for r in values if _cell(r.scored) == _cell(members[0].scored)]), strict=True)
            estimate = crossed(np.array(chosen), np.array(again), clusters)
            row[name] = estimate.within_zero_and_one()
        yield cell | {"runs": len(members), "metrics": row, "classes": classes}


def _cells(resampled: Sequence[Resampled]) -> Iterator[tuple[dict[str, Any], list[Resampled]]]:
    for key in dict.fromkeys(_cell(r.scored) for r in resampled):
        members = [r for r in resampled if _cell(r.scored) == key]
        yield _named(members[0].scored) | {"backbone": members[0].scored.backbone}, members


def _cell(scored: Scored) -> tuple[str, int, str]:
    return scored.arm, scored.real_images, scored.backbone


def _named(scored: Scored) -> dict[str, Any]:
    told = ("arm", "role", "ratio", "source", "real_images", "trained_on")
    return {name: getattr(scored, name) for name in told}


def _means(rows: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Of each metric over classifiers; what one of them lacks, as the test set has no image of it, all lack."""
    return {
        name: None if any(row[name] is None for row in rows) else float(np.mean([row[name] for row in rows]))
        for name in rows[0]
    }


def _power(verdict: Sequence[Comparison], images: int, clusters: int, runs: str, metric: str) -> dict[str, Any] | None:
    """What comparisons with real images alone can show, controls aside, and what larger sweeps would of the one that
    varies most."""
    claims = [comparison for comparison in verdict if not comparison.control]
    if not claims:
        return None
    worst = max(claims, key=lambda comparison: comparison.smallest_seen)
    parts: Components = worst.estimate.components
    plan = planned(
        parts, [max(2, times * parts.runs) for times in MORE], [times * clusters for times in MORE], ALPHA / worst.tests
    )
    return {
        "difference": worst.smallest_seen,
        "line": power_line(_seen(claims), images, clusters, runs, words(metric)),
        "of": worst.claim,
        "real_images": worst.real_images,
        "tests": worst.tests,
        "plan": plan,
    }


def _seen(claims: Sequence[Comparison]) -> dict[str, float]:
    several = len({claim.real_images for claim in claims}) > 1
    return {
        claim.claim + (f" at {claim.real_images} real images" if several else ""): claim.smallest_seen
        for claim in claims
    }


def _gaps(
    scored: Sequence[Scored], held_out: Sequence[HeldOut], attribute: str, metric: str, resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Each arm and real count, its backbones together. The floor is that of real images alone, which
    zero-shot classifiers do not have."""
    cells = dict.fromkeys((s.arm, s.real_images) for s in scored)
    floors: dict[int, float | None] = {}
    for few in sorted({s.real_images for s in scored}):
        base = [s for s in scored if s.role == BASELINE and s.real_images == few and s.split == held_out[0].split]
        floors[few] = gap_floor(base, held_out[0], attribute, metric, seed) if base else None
    for arm, few in cells:
        members = [s for s in scored if (s.arm, s.real_images) == (arm, few)]
        row = fairness(members, held_out, attribute, metric, resamples, seed)
        yield _named(members[0]) | {"backbone": ALL_BACKBONES} | row | {"gap_floor": floors[few]}
