"""Classifiers by arm, out of the sweep stage's analyses: metrics with intervals, and gains over real images alone."""

from collections.abc import Iterator
from typing import Any

from dermray.classification.test_sets import OWN
from dermray.manifest import Result
from dermray.papers.measured import Measured, Run
from dermray.papers.setting import Setting

ALL, ONLY = "all", "only"
DRAWN = ("mixed", "synthetic only", "negative control")  # roles of arms that have synthetic images
# What no threshold decides: ranks, and the probabilities themselves.
UNDECIDED = ("auc", "average_precision", "brier", "calibration_error", "sensitivity_at_specificity",
             "specificity_at_sensitivity")  # fmt: skip
UNCONTROLLED = "not all controls of this sweep came out: it says nothing about synthetic images"


def measured(name: str, result: Result, run: Run) -> Iterator[Measured]:
    """Every arm on every test set: over all images, by class, and its gain."""
    config, told = result.manifest.config, result.manifest.metrics
    data, split = run.data(result), run.split(result)
    marked = {"split": "split by image"} if result.manifest.leaking_groups else {}
    families = {source: run.family(run.input(result, f"synthetic.{source}".rstrip("."))) for source in _sources(config)}
    for analysis in told["tested"]:
        here = {"stage": "sweep", "instance": name, "test_set": analysis["test_set"]} | marked
        doubts = (UNCONTROLLED,) if analysis["controls"] is False else ()
        tested = Setting(
            images=analysis["images"], data=data, split=split, tested_on="real",
            tested_data=_tested_data(analysis["test_set"], result, run),
        )  # fmt: skip
        yield Measured(here | {"metric": "test images"}, analysis["images"], setting=Setting(data=data, split=split))
        for arm in [*analysis["arms"], *analysis["zero_shot"]]:
            setting = _setting(arm, families, told["image_size"]).over(tested)
            yield from _of_arm(arm, here | _where(arm, config), setting, _decided(arm, config), doubts)
        for gain in [*analysis["verdict"], *analysis["differences"]]:
            if gain["role"] in ("mixed", "synthetic only") and not _of_several(gain, config):
                where = here | _where(gain, config) | {"metric": f"gain in {analysis['metric']}"}
                setting = _setting(gain, families, told["image_size"]).over(tested)
                yield Measured(where, gain["mean"], gain["low"], gain["high"], 0.0, setting, doubts)


def _tested_data(test_set: str, result: Result, run: Run) -> tuple[str, ...] | None:
    """Sources of its images: of the rows' own split those that are trained on too."""
    if test_set == OWN:
        return run.data(result)
    tested = run.input(result, f"test_sets.{test_set}")
    return run.data(tested) if tested else None


def _sources(config: dict[str, Any]) -> list[str]:
    return [""] if "synthetic" not in config else [each["name"] for each in config["synthetic"]]


def _of_several(gain: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether it is a mean over backbones: the papers tell each."""
    return gain["backbone"] == ALL and len(config["backbones"]) > 1


def _where(arm: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    where = {"role": arm["role"], "ratio": f"{arm['ratio']:g}", "source": arm["source"] or ONLY}
    backbones = [each["name"] for each in config["backbones"]]
    backbone = backbones[0] if arm["backbone"] == ALL else arm["backbone"]
    where |= {"backbone": backbone, "real_images": str(arm["real_images"])}
    if backbone in backbones:
        where["backbone_place"] = str(backbones.index(backbone) + 1)
    given = config["real_images"]
    counts = [given] if isinstance(given, int) else sorted(given)
    if arm["real_images"] in counts:
        where["real_place"] = str(counts.index(arm["real_images"]) + 1)
    return where


def _setting(arm: dict[str, Any], families: dict[str, str | None], sizes: dict[str, int]) -> Setting:
    drawn = arm["role"] in DRAWN
    backbone = next(iter(sizes)) if arm["backbone"] == ALL else arm["backbone"]
    real, synthetic = _learned_from(arm)
    return Setting(
        backbone=backbone,
        image_size=sizes.get(backbone),
        generator=families.get(arm["source"]) if drawn else None,
        real_images=real,
        synthetic_images=synthetic,
    )


def _learned_from(arm: dict[str, Any]) -> tuple[int | None, int | None]:
    """How many real and synthetic images an arm has. More real ones as a control are no paper's, and left out."""
    few, role = arm["real_images"], arm["role"]
    if role in ("zero-shot", "positive control"):
        return None, None
    return 0 if role == "synthetic only" else few, round(few * arm["ratio"]) if role in DRAWN else 0


def _decided(arm: dict[str, Any], config: dict[str, Any]) -> Setting:
    """How images are called malignant: see classification/calibration.py. More than two classes have no threshold."""
    if len(arm["classes"]) > 2:
        return Setting()
    usual = arm["role"] == "zero-shot" or config.get("threshold") == "0.5"
    return Setting(threshold="0.5" if usual else "validation")


def _of_arm(
    arm: dict[str, Any], where: dict[str, str], setting: Setting, threshold: Setting, doubts: tuple[str, ...]
) -> Iterator[Measured]:
    classes = {name: round(values["images"]) for name, values in arm["classes"].items()}
    total, decided = sum(classes.values()), threshold.over(setting)
    floors = {"accuracy": max(classes.values()) / total, "auc": 0.5, "balanced_accuracy": 1 / len(classes)}
    for of, values in {ALL: arm["metrics"], **arm["classes"]}.items():
        for metric, found in values.items():
            if metric != "images":
                told = found if isinstance(found, dict) else {"mean": found}  # with an interval, or a mean over seeds
                at, floor = where | {"class": of, "metric": metric}, floors.get(metric) if of == ALL else None
                bounds = told.get("low"), told.get("high")
                circumstances = setting if metric in UNDECIDED else decided
                if of != ALL and metric == "recall":  # of this class's images alone
                    circumstances = circumstances.model_copy(update={"images": classes[of]})
                yield Measured(at, told["mean"], *bounds, floor, circumstances, doubts)
    drawn = round(arm["ratio"] * arm["real_images"])
    yield Measured(where | {"metric": "synthetic images"}, drawn, setting=setting.model_copy(update={"images": None}))
