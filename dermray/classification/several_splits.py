"""One verdict over sweeps of several splits of the same data: what a sweep of one split cannot say.

Each split has a generator of its own, trained on that split's training images, and so a sweep of its own.
"""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from dermray import manifest, storage
from dermray.classification import page, trial_files
from dermray.classification.analysis import analyse
from dermray.classification.attributes import attributes_of
from dermray.classification.calibration import of_validation
from dermray.classification.conclusions import said
from dermray.classification.held_out import HeldOut, Scored
from dermray.classification.pools import Pools
from dermray.classification.report_block import report_block as report_block  # into a run's report
from dermray.classification.settings import Threshold
from dermray.classification.tuning import TRIALS
from dermray.config import Config
from dermray.leak_mark import leak_mark
from dermray.manifest import Result, Rows
from dermray.result_fields import ResultOf

# What may differ between the sweeps of two splits: where things lie, how trials are run, and the data.
FREE = {"output", "rows", "synthetic", "test_sets", "zero_shot", "resamples", "keep_models", "workers_per_trial"}


class SeveralSplitsConfig(Config):
    """Which sweeps."""

    output: str
    sweeps: tuple[Annotated[str, ResultOf("sweep")], ...] = Field(
        min_length=2, description="results of the sweep stage, of a split each"
    )
    resamples: int = Field(500, ge=10)
    seed: int = Field(0, ge=0)


def run(config: SeveralSplitsConfig) -> Result:
    """Pool them; a split counts once, as docs/verdict.md says.

    Raises:
        FileNotFoundError, ValueError: no finished sweeps, of other settings, twice the same split, or splits of data
            that was grouped otherwise.
    """
    sweeps = [manifest.read(uri, "sweep") for uri in config.sweeps]
    _require_alike(sweeps)
    inputs = {f"sweeps.{number}": sweep for number, sweep in enumerate(sweeps)}
    with manifest.work("sweep-splits", config.output, config, inputs) as work:
        if work.finished:
            return work.finished
        parts = [_part(sweep, number) for number, sweep in enumerate(sweeps)]
        _require_same_groups([ids for _, ids, _ in parts], [part for part, _, _ in parts], config.sweeps)
        held_out, scored = [part for part, _, _ in parts], [each for *_, some in parts for each in some]
        analysis = analyse(scored, held_out, config.resamples, config.seed) | {"threshold": _threshold(sweeps[0])}
        page.write(
            work.data,
            "dermray sweeps of several splits",
            [(analysis, scored, held_out)],
            leak_mark(work.leaking_groups),
        )
        images = sum(len(part.labels) for part in held_out)
        return work.commit(
            Rows(rows_in=images, ok=images, rejected=0, failed=0),
            images,
            cpus=1,
            gpus=0,
            verdict=analysis["verdict"],
            tested=[analysis],
            summary="\n".join(said(analysis)),
            page="page.html",
        )


def _require_alike(sweeps: list[Result]) -> None:
    """The same experiment on other rows.

    Raises:
        ValueError: it is not.
    """
    rows = [sweep.manifest.inputs["rows"] for sweep in sweeps]
    for number, key in enumerate(rows):
        if key in rows[:number]:
            same = sweeps[rows.index(key)].uri
            raise ValueError(f"sweeps: {same} and {sweeps[number].uri} are of the same rows, and so of the same split")
    first = _settings(sweeps[0])
    for sweep in sweeps[1:]:
        settings = _settings(sweep)
        if told := [f"{n}: {first.get(n)!r}, {settings.get(n)!r}" for n in first if first[n] != settings.get(n)]:
            raise ValueError(
                f"sweeps: {sweep.uri} has other settings than {sweeps[0].uri} ({'; '.join(told)}); "
                "sweep each split alike"
            )


def _settings(sweep: Result) -> dict[str, Any]:
    kept = {name: value for name, value in sweep.manifest.config.items() if name not in FREE}
    return kept | {"classes": sweep.manifest.metrics["classes"]}


def _part(sweep: Result, split: int) -> tuple[HeldOut, list[str], list[Scored]]:
    """The sweep's own test set, the ids of its images, and its classifiers on it."""
    metrics = sweep.manifest.metrics
    name = next(iter(metrics["tests"]))
    pools = Pools(storage.join(sweep.data, "pools"), {}, [name])
    rows, held_back = Pools.read_rows(pools.test(name)), Pools.read(pools.validation)[1]
    groups, labels = rows["leak_group"].to_pylist(), rows["label"].to_numpy()
    held_out = HeldOut(
        name, tuple(metrics["classes"]), labels, groups, attributes_of(rows), split, pools.patients_known(name)
    )
    scored = [_scored(trial, sweep, name, held_back, split) for trial in metrics["trials"]]
    return held_out, rows["sample_id"].to_pylist(), scored


def _scored(trial: dict[str, Any], sweep: Result, name: str, held_back: np.ndarray, split: int) -> Scored:
    scores = trial_files.scores_of(storage.join(sweep.data, TRIALS), trial["key"])
    chosen = of_validation(held_back, scores.get(trial_files.VALIDATION), _threshold(sweep))
    return Scored(
        trial["arm"], trial["role"], trial["real_images"], trial["backbone"], trial["seed"], chosen.scale(scores[name]),
        trial["ratio"], trial["source"], chosen.threshold, split, _trained_on(trial),
    )  # fmt: skip


def _trained_on(trial: dict[str, Any]) -> tuple[int, int]:
    """Real and synthetic images: a trial tells how many they are together."""
    synthetic = round(trial["real_images"] * trial["ratio"])  # as `arms.needed`
    return trial["training_images"] - synthetic, synthetic


def _threshold(sweep: Result) -> Threshold:
    """Sweeps of an earlier version have no other than Youden's."""
    threshold: Threshold = sweep.manifest.config.get("threshold", "youden")
    return threshold


def _require_same_groups(ids: list[list[str]], parts: list[HeldOut], names: tuple[str, ...]) -> None:
    """Leak groups are drawn together over all splits, so an image must be in the same group in each.

    Raises:
        ValueError: one is not.
    """
    known: dict[str, str] = {}
    for own, part, name in zip(ids, parts, names, strict=True):
        for sample, group in zip(own, part.leak_groups, strict=True):
            if known.setdefault(sample, group) != group:
                raise ValueError(
                    f"sweeps: image {sample} is in leak group {group} in {name} and in {known[sample]} in another; "
                    "ingest the same sources with another seed for each split"
                )
