"""From finished trials to what a sweep says: a verdict for each test set, a table, pictures."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from dermray import storage
from dermray.classification import page, trial_files
from dermray.classification.analysis import analyse
from dermray.classification.arms import needed
from dermray.classification.attributes import attributes_of
from dermray.classification.calibration import Calibration, of_validation
from dermray.classification.grid import Trial
from dermray.classification.held_out import HeldOut, Scored
from dermray.classification.metrics import measure, words
from dermray.classification.pools import Pools
from dermray.classification.prepare import Prepared
from dermray.classification.sweep_settings import SweepConfig
from dermray.classification.verdict import ZERO_SHOT
from dermray.classification.zero_shot_scores import Baseline
from dermray.leak_mark import leak_mark
from dermray.manifest import Work

TABLE = "table.csv"
SHOWN = ("auc", "accuracy", "balanced_accuracy", "f1_macro")  # of a test set as a whole
OF_POSITIVE = ("recall", "precision", "f1")  # of the class malignant, as paper 001's Table 2


def conclude(
    trials: list[Trial],
    others: list[Baseline],
    prepared: Prepared,
    work: Work,
    place: str,
    config: SweepConfig,
) -> dict[str, Any]:
    """What goes into the manifest; the table and the page are written below the work's data.

    Args:
        others: zero-shot classifiers. place: directory of finished trials.
    """
    results = trial_files.results(place, [trial.key for trial in trials])
    scores = {trial.key: trial_files.scores_of(place, trial.key) for trial in trials}
    held_back = Pools.read(prepared.pools.validation)[1]
    chosen = {
        key: of_validation(held_back, each.get(trial_files.VALIDATION), config.threshold)
        for key, each in scores.items()
    }
    tested, rows = [], list[dict[str, Any]]()
    for name in prepared.pools.tests:
        held_out = _held_out(prepared, name)
        scored = [_scored(trial, scores[trial.key][name], chosen[trial.key]) for trial in trials]
        scored += [other.scored(trial_files.scores_of(place, other.key)[name]) for other in others]
        analysis = analyse(scored, [held_out], config.resamples, config.seed)
        analysis |= {"removed": prepared.tests[name]["removed"], "threshold": config.threshold}
        analysis["seen_by_generator"] = prepared.tests[name].get("seen_by_generator", {})
        tested.append((analysis, scored, [held_out]))
        rows += _table(scored, held_out, prepared.tests[name]["removed"]["all"])
    page.write(work.data, "dermray sweep", tested, leak_mark(work.leaking_groups))
    storage.write_bytes(storage.join(work.data, TABLE), _csv(rows))
    own = prepared.pools.tests[0]
    return {
        "trials": [_told(trial, result, own) for trial, result in zip(trials, results, strict=True)],
        "verdict": tested[0][0]["verdict"],
        "tested": [analysis for analysis, *_ in tested],
        "zero_shot": [other.named() for other in others],
        "table": rows,
        "summary": "\n".join(said(tested[0][0])),
        "page": "page.html",
    }


def _told(trial: Trial, result: dict[str, Any], own: str) -> dict[str, Any]:
    """A trial with the first test set's metrics as its own, by its name in this sweep: an earlier one from which it was
    taken may have called its arm otherwise."""
    kept = {name: value for name, value in result.items() if name != "tests"}
    return kept | trial.named() | result["tests"][own]


def said(analysis: dict[str, Any]) -> Iterator[str]:
    """The verdict on one test set, controls first, for the terminal."""
    if analysis["controls"] is False:
        yield "not all controls came out: this experiment says nothing about synthetic images"
    several = len({row["real_images"] for row in analysis["verdict"]}) > 1
    for row in analysis["verdict"]:
        at = f" at {row['real_images']} real images" if several else ""
        interval = f"{row['mean']:+.3f} {words(analysis['metric'])}, {row['low']:+.3f} to {row['high']:+.3f}"
        yield f"{'yes' if row['came_out'] else 'NO '}  {row['claim']}{at} ({interval})"
    if analysis["power"]:
        yield analysis["power"]["line"]


def _held_out(prepared: Prepared, name: str) -> HeldOut:
    rows = Pools.read_rows(prepared.pools.test(name))
    groups = rows["leak_group"].to_pylist()
    return HeldOut(
        name, prepared.target.classes, rows["label"].to_numpy(), groups, attributes_of(rows),
        patients_known=prepared.pools.patients_known(name),
    )  # fmt: skip


def _scored(trial: Trial, probabilities: np.ndarray, chosen: Calibration) -> Scored:
    arm = trial.arm
    return Scored(
        arm.name, arm.role, trial.real_images, trial.backbone.name, trial.seed, chosen.scale(probabilities),
        arm.synthetic_ratio, arm.source, chosen.threshold, trained_on=needed(arm, trial.real_images),
    )  # fmt: skip


def _table(scored: list[Scored], held_out: HeldOut, removed: int) -> Iterator[dict[str, Any]]:
    """Training set x test set: means over seeds. Zero-shot classifiers have none."""
    cells: dict[tuple[str, int, str], list[Scored]] = defaultdict(list)
    for each in scored:
        cells[each.arm, each.real_images, each.backbone].append(each)
    for (arm, few, backbone), members in cells.items():
        measured = [measure(held_out.labels, s.probabilities, held_out.classes, s.threshold) for s in members]
        named = {"test_set": held_out.name, "test_images": len(held_out.labels), "removed": removed}
        named |= {"arm": arm, "role": members[0].role, "source": members[0].source, "ratio": members[0].ratio}
        real, synthetic = members[0].trained_on or (None, None)
        named |= {"real_images": few, "trained_on_real": real, "trained_on_synthetic": synthetic}
        named |= {"backbone": backbone}
        values = {name: [told["overall"][name] for told in measured] for name in SHOWN}
        if len(held_out.classes) == 2:
            positive = held_out.classes[1]
            values |= {name: [told["classes"][positive][name] for told in measured] for name in OF_POSITIVE}
        seeds = 0 if members[0].role == ZERO_SHOT else len(members)
        yield named | {"seeds": seeds} | {k: _mean(v) for k, v in values.items()}


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
