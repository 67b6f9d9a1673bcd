"""Metrics by group: skin tone, sex, age band, site and source; the worst group and the gap to the best.

A group with few patients says nothing of its own. It is shown, marked as small, and is neither worst nor best; nor is
"unknown", which is no group of people.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from fairlearn.metrics import MetricFrame, selection_rate
from sklearn.metrics import recall_score

from dermray.classification.attributes import UNKNOWN, estimated
from dermray.classification.held_out import HeldOut, Resampled, Scored, resample, runs
from dermray.classification.metrics import RESAMPLED, decide
from dermray.statistics import Estimate, crossed, shuffled_groups

SMALLEST = 10  # leak groups of each class that a group must have
SHUFFLES = 100


def by_group(
    labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str], threshold: float = 0.5
) -> dict[str, dict[str, float | None]]:
    """Per group: images, auc, accuracy, balanced_accuracy; of two classes also sensitivity, specificity and the share
    called positive, all at the threshold.

    Args:
        labels: (N,) int64. probabilities: (N, C). names: N groups.
    """
    predicted = decide(probabilities, threshold)

    def weighted(metric: str) -> Any:
        def value(_: Any, rows: np.ndarray) -> float:
            chosen = np.asarray(rows)
            if metric == "auc" and len(np.unique(labels[chosen])) < 2:
                return np.nan
            ones = np.ones((1, len(chosen)))
            return float(RESAMPLED[metric](labels[chosen], probabilities[chosen], ones, threshold)[0])

        return value

    def recall(positive: int) -> Any:
        return lambda y, rows: recall_score(y, predicted[np.asarray(rows)], pos_label=positive, zero_division=np.nan)

    measures: dict[str, Any] = {name: weighted(name) for name in RESAMPLED} | {"images": lambda y, _: len(y)}
    if probabilities.shape[1] == 2:
        measures |= {"sensitivity": recall(1), "specificity": recall(0)}
        measures["called_positive"] = lambda y, rows: selection_rate(y, predicted[np.asarray(rows)])
    # fairlearn hands each metric the rows of one group: here numbers of rows, since a prediction may be C numbers
    frame = MetricFrame(
        metrics=measures, y_true=labels, y_pred=np.arange(len(labels)), sensitive_features=np.array(names)
    )
    table = frame.by_group.to_dict("index")
    return {str(name): {k: None if np.isnan(v) else float(v) for k, v in row.items()} for name, row in table.items()}


def auc_gap(groups: dict[str, dict[str, float | None]]) -> float | None:
    """The largest difference in AUC between groups of `by_group`; None where fewer than two have one."""
    aucs = [auc for name, row in groups.items() if (auc := row["auc"]) is not None and name != UNKNOWN]
    return max(aucs) - min(aucs) if len(aucs) > 1 else None


def sizes(held_out: Sequence[HeldOut], attribute: str) -> dict[str, dict[str, Any]]:
    """Of each group: images, leak groups, whether it is too small to be judged; and how many of its images are in a
    group of skin tones by an estimate, if any are."""
    names = [name for part in held_out for name in part.attributes[attribute]]
    clusters = np.array([group for part in held_out for group in part.leak_groups])
    labels = np.concatenate([part.labels for part in held_out])
    guessed = Counter[str]()
    for part in held_out if attribute == "skin_tone" else ():
        guessed += estimated(part.attributes)
    told = {}
    for name in sorted({*map(str, names)}):
        rows = np.array(names) == name
        classes = [len(set(clusters[rows & (labels == i)])) for i in range(len(held_out[0].classes))]
        enough = sorted(classes)[-2] >= SMALLEST  # of two classes both; of more at least two
        told[name] = {"images": int(rows.sum()), "leak_groups": len(set(clusters[rows])), "small": not enough}
        if guessed[name]:
            told[name]["estimated"] = guessed[name]
    return told


def fairness(
    scored: Sequence[Scored], held_out: Sequence[HeldOut], attribute: str, metric: str, resamples: int, seed: int
) -> dict[str, Any]:
    """Groups with their intervals, the worst one, and the gap from it to the best.

    Args:
        scored: classifiers of one arm on one test set. held_out: that test set, of each split one.

    Returns:
        groups: by name their sizes and value, low, high (None where small). worst, best: names. gap, gap_low,
        gap_high: of these two groups as they came out; of equal groups too the gap is above zero, see `gap_floor`.
        They are None where fewer than two groups can be judged.
    """
    groups = sizes(held_out, attribute)
    judged: dict[str, list[Resampled]] = {}
    for name, row in groups.items():
        row |= {"value": None, "low": None, "high": None}
        if not row["small"]:
            judged[name] = resample(scored, held_out, metric, resamples, seed, attribute, name)
            estimate = _estimate(judged[name], row["leak_groups"]).within_zero_and_one()
            row |= {"value": estimate.pop("mean")} | estimate
    named = [name for name in judged if name != UNKNOWN]
    told: dict[str, Any] = {"groups": groups, "worst": None, "best": None}
    if len(named) < 2:
        return told | dict.fromkeys(("gap", "gap_low", "gap_high"))
    worst, best = (choose(named, key=lambda name: groups[name]["value"]) for choose in (min, max))
    between = [
        Resampled(high.scored, high.value - low.value, high.again - low.again)
        for high, low in zip(judged[best], judged[worst], strict=True)
    ]
    clusters = min(groups[name]["leak_groups"] for name in (worst, best))
    gap = _estimate(between, clusters)
    return told | {"worst": worst, "best": best, "gap": gap.mean, "gap_low": gap.low, "gap_high": gap.high}


def gap_floor(scored: Sequence[Scored], held_out: HeldOut, attribute: str, metric: str, seed: int) -> float | None:
    """The gap that 95 of 100 sweeps stay below where the attribute does not matter: groups shuffled over leak groups.

    Args:
        scored: classifiers of one arm on one split of a test set. None where fewer than two groups can be judged.
    """
    named = [name for name, row in sizes([held_out], attribute).items() if not row["small"] and name != UNKNOWN]
    if len(named) < 2:
        return None
    rng, value = np.random.default_rng(seed), RESAMPLED[metric]
    codes = np.array([named.index(name) if name in named else -1 for name in held_out.attributes[attribute]])
    clusters, gaps = np.unique(held_out.leak_groups, return_inverse=True)[1], list[float]()
    for _ in range(SHUFFLES):
        mixed = shuffled_groups(codes, clusters, rng)
        masks = (mixed == np.arange(len(named))[:, None]).astype(float)  # (groups, N): weights, as of resamples
        by_group = [value(held_out.labels, s.probabilities, masks, s.threshold) for s in scored]
        gaps.append(float(np.ptp(np.mean(by_group, axis=0))))
    return float(np.nanquantile(gaps, 0.95))


def _estimate(resampled: Sequence[Resampled], clusters: int) -> Estimate:
    values, again = zip(*runs(resampled), strict=True)
    return crossed(np.array(values), np.array(again), clusters)
