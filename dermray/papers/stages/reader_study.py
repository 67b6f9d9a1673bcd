"""Readers' answers, out of what `reader-study analyse` counted."""

from collections.abc import Iterator
from typing import Any

from dermray.manifest import Result
from dermray.papers.measured import Measured, Run
from dermray.papers.setting import Setting

ALL = "all"
AVERAGES = {"macro avg": "macro", "weighted avg": "weighted"}
RATES = {"precision": "precision", "recall": "recall", "f1-score": "f1"}


def measured(name: str, result: Result, run: Run) -> Iterator[Measured]:
    """Every reader's answers to both questions, on the whole set and on both its halves."""
    study = run.input(result, "study")
    size = study.manifest.config["side"] if study else None
    family = run.family(run.input(study, "synthetic")) if study else None
    common = Setting(data=run.data(result), generator=family, image_size=size)
    for reader, told in result.manifest.metrics["readers"].items():
        for question, subsets in told["questions"].items():
            for subset, found in subsets.items():
                where = {"stage": result.manifest.stage, "instance": name, "reader": reader, "question": question}
                setting = Setting(images=found["answered"] or None).over(common)
                yield from _of_subset(where | {"subset": subset}, found, setting)


def built(name: str, result: Result, run: Run) -> Iterator[Measured]:
    """How many images readers see."""
    config = result.manifest.config
    setting = Setting(data=run.data(result), generator=run.family(run.input(result, "synthetic")))
    shares = {"original": config["originals_per_class"], "synthetic": config["synthetic_per_class"]}
    total = sum(shares.values())
    for origin, share in {ALL: total, **shares}.items():
        where = {"stage": result.manifest.stage, "instance": name, "metric": "images", "origin": origin}
        yield Measured(where, result.manifest.rows.ok * share / total, setting=setting)


def _of_subset(where: dict[str, str], found: dict[str, Any], setting: Setting) -> Iterator[Measured]:
    report = found["report"]
    if report is None:
        return
    classes = {label: row for label, row in report.items() if label not in ("accuracy", *AVERAGES)}
    share = found["accuracy"]
    guess = max(row["support"] for row in classes.values()) / found["answered"]
    yield Measured(
        where | {"class": ALL, "metric": "accuracy"}, share["value"], share["low"], share["high"], guess, setting
    )
    for label, average in AVERAGES.items():
        for rate, metric in RATES.items():
            at = where | {"class": ALL, "metric": f"{metric}_{average}"}
            yield Measured(at, report[label][rate], setting=setting)
    for label, row in classes.items():
        for rate, metric in RATES.items():
            yield Measured(where | {"class": label, "metric": metric}, row[rate], setting=setting)
    for label, area in ((found["auc"] or {}).get("classes") or {}).items():
        if area is not None:
            at = where | {"class": label, "metric": "auc"}
            yield Measured(at, area["value"], area["low"], area["high"], 0.5, setting)
