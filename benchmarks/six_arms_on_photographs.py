"""Do synthetic images help a pretrained classifier on real dermoscopic photographs? Six arms, both controls.

    python -m benchmarks.six_arms_on_photographs plan [../shared/data] [--output runs/six_arms]
    git commit benchmarks/results/six_arms_plan.yaml
    python -m benchmarks.six_arms_on_photographs run  [../shared/data] [--output runs/six_arms]

`plan` splits the photographs, draws the synthetic images, and finds on the validation split how classifiers are trained
and of which size a sweep must be for its controls to come out. It writes that down. `run` makes this sweep, once, on
the test split, and prints what came out. The plan is committed in between: nothing in it can know the test split.
"""

import argparse
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks import six_arms_images
from benchmarks.six_arms_pilot import SHUFFLED, Images, Setting, power, settings_by_auc
from dermray.classification.run import run as sweep
from dermray.classification.sweep_settings import SweepConfig
from dermray.config import validate
from dermray.manifest import Result, library_versions

PLAN = Path(__file__).parent / "results" / "six_arms_plan.yaml"
SETTINGS = [Setting(96, rate, 60) for rate in (3e-4, 1e-3, 3e-3)]  # at 128 px a step takes twice as long
COUNTS = [24, 40]  # real images in an arm
FIRST_SEEDS, PILOT_SEEDS = range(100, 102), range(100, 106)  # apart from the sweep's
SEEDS = [4, 6, 8, 10, 12]  # that the sweep may have: twelve take half an hour of two shared cores
SHARE = 0.8  # of the pilot's difference: chance made it too, so a sweep is planned for a smaller one
GENERATOR = "nano DermDiT"


def plan(data: str, output: str) -> None:
    """The pilot; writes the plan."""
    stages = six_arms_images.make(data, output)
    images = Images.read(stages["ingest"], stages["generate"])
    started = time.perf_counter()
    tried = settings_by_auc(images, SETTINGS, COUNTS[0], FIRST_SEEDS)
    for row in tried:
        print(row, flush=True)
    best: Setting = max(tried, key=lambda row: sum(row["auc"].values()))["setting"]
    found = power(images, best, COUNTS, PILOT_SEEDS, SEEDS)
    chosen, seeds, enough = choice(found)
    told = {
        "choice": _sweep(best, chosen, seeds),
        "enough": enough,
        "pilot": {
            "minutes": round((time.perf_counter() - started) / 60, 1),
            "images": {"train": len(images.real), "synthetic": len(images.drawn), "validation": len(images.validation)},
            "leak_groups": {"validation": images.held_out.clusters, "test": images.test_groups},
            "settings": [_plain(row["setting"]) | {"validation_auc": row["auc"]} for row in tried],
            "sizes": _rounded(found),
        },
    }
    text = yaml.safe_dump(told, sort_keys=False, width=120)
    PLAN.write_text(f"# Written by `python -m benchmarks.six_arms_on_photographs plan`. Validation split only.\n{text}")
    print(text)


def choice(found: list[dict[str, Any]]) -> tuple[dict[str, Any], int, bool]:
    """The sweep with the fewest seeds that sees both controls; if none does, the one that comes nearest with all seeds.

    Args:
        found: as `power` gives it.

    Returns:
        The size, the number of seeds, and whether they are enough.
    """

    def reach(size: dict[str, Any], seeds: int) -> float:
        """How large the controls' differences are, by those that can be seen: of both the smaller."""
        return min(SHARE * control["difference"] / control["seen_from"][seeds] for control in size["controls"])

    for seeds in SEEDS:
        size = max(found, key=lambda each: reach(each, seeds))
        if reach(size, seeds) >= 1:
            return size, seeds, True
    return size, SEEDS[-1], False


def _sweep(setting: Setting, size: dict[str, Any], seeds: int) -> dict[str, Any]:
    """What a plan says of a sweep's config."""
    return {
        "real_images": size["real_images"],
        "balanced": True,
        "arms": {
            "ratios": [1.0, 2.0],
            "synthetic_only": [2.0],
            "shuffled": [SHUFFLED],
            "more_real": [size["more_real"]],
        },
        "seeds": seeds,
        "backbones": [setting.backbone.model_dump()],
        "image_size": setting.size,
        "training": setting.training.model_dump(include={"steps", "batch_size", "schedule"}),
    }


def _plain(setting: Setting) -> dict[str, Any]:
    return {"image_size": setting.size, "learning_rate": setting.learning_rate, "steps": setting.steps}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def run(data: str, output: str) -> None:
    """The sweep that the plan says; prints its verdict."""
    text = PLAN.read_text()
    stages = six_arms_images.make(data, output)
    synthetic = {"name": GENERATOR, "result": stages["generate"].uri, "trained_on": stages["caption"].uri}
    given = {"output": f"{output}/sweep", "rows": stages["ingest"].uri, "synthetic": [synthetic]}
    started = time.perf_counter()
    swept = sweep(validate(SweepConfig, given | yaml.safe_load(text)["choice"]))
    minutes = (time.perf_counter() - started) / 60
    print(f"Plan: `{PLAN.name}`, SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:16]}")
    trials, load = len(swept.manifest.metrics["trials"]), os.getloadavg()[0]
    print(f"{trials} trials in {minutes:.1f} min, {os.cpu_count()} cores, load at the end {load:.1f}")
    print(f"torch {library_versions()['torch']}\n")
    report(swept)


def report(swept: Result) -> None:
    """Arms, comparisons and power as Markdown."""
    (told,) = swept.manifest.metrics["tested"]
    print(f"Test split: {told['images']} images of {told['leak_groups']} leak groups; {told['seeds']} seeds.\n")
    print("| arm | AUC | 95% interval | balanced accuracy |\n|---|---:|---:|---:|")
    for row in told["arms"]:
        auc, accuracy = row["metrics"]["auc"], row["metrics"]["balanced_accuracy"]
        accuracy = accuracy["mean"] if isinstance(accuracy, dict) else accuracy
        print(f"| {row['arm']} | {auc['mean']:.3f} | {auc['low']:.3f} to {auc['high']:.3f} | {accuracy:.3f} |")
    columns = ("expected", "difference in AUC", "95% interval", "p", "p, corrected", "seen from", "came out?")
    print(f"\n| {' | '.join(columns)} |\n|---|---:|---:|---:|---:|---:|---|")
    for row in told["verdict"]:
        corrected = "" if row["control"] else f"{row['corrected_p']:.3f}"
        out = "yes" if row["came_out"] else "no, the reverse" if row["harmful"] else "no"
        interval, seen = f"{row['low']:+.3f} to {row['high']:+.3f}", f"{row['smallest_seen']:.3f}"
        cells = (row["claim"], f"{row['mean']:+.3f}", interval, f"{row['p']:.3f}", corrected, seen, out)
        print(f"| {' | '.join(cells)} |")
    print(f"\n{told['power']['line']}")


def main() -> None:
    """One of the two phases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("phase", choices=["plan", "run"])
    parser.add_argument("data", nargs="?", default="../shared/data")
    parser.add_argument("--output", default="runs/six_arms")
    arguments = parser.parse_args()
    (plan if arguments.phase == "plan" else run)(str(Path(arguments.data).resolve()), arguments.output)


if __name__ == "__main__":
    main()
