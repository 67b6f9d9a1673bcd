"""Does tuning on what is true take a shortcut away? A captioner that learned one, tuned, asked about images held out.

    python -m benchmarks.tuning_on_truth OUTPUT [--arms lora_all lora_language full] [--phantoms 3000] [--steps 250]

The start is the nano captioner, trained on phantoms of which nine tenths have an irregular border just where they are
asymmetric. It is tuned by `dermray tune-vlm` on other phantoms, in which no attribute predicts another, with the truth
as answer and nothing else: none of the losses that taught its eye. Before and after, `dermray caption` asks it through
vLLM about phantoms of a third seed. A difference is paired by image; intervals are over patients.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from dermray.captioning import accuracy
from dermray.captioning import run as captioning
from dermray.config import load, validate
from dermray.datasets import ingest
from dermray.manifest import Result
from dermray.records import read_columns
from dermray.statistics import cluster_interval
from dermray.vlm import run as captioner
from dermray.vlm.tuning import run as tuning

CONFOUNDED = 0.9
RESAMPLES = 2000
ARMS: dict[str, dict[str, Any]] = {
    "lora_all": {"parts": ["language_model", "vision_tower", "projector"]},
    "lora_language": {},
    "full": {"method": "full", "parts": ["language_model", "vision_tower", "projector"]},
}
RATES = {"lora": 2.0e-3, "full": 1.0e-3}


def phantoms(output: str, count: int, seed: int) -> Result:
    """Ingested, none of them spoilt or repeated."""
    source = {"source": "phantom", "count": count, "size": 64, "seed": seed, "broken": 0, "duplicates": 0}
    return ingest.run(validate(ingest.IngestConfig, {"output": output, "sources": [source]}))


def start(output: str, overrides: list[str] | None = None) -> Result:
    """The captioner with a shortcut."""
    given = [f"output={output}", f"confounded={CONFOUNDED}", *(overrides or [])]
    return captioner.run(load(captioner.CaptionerConfig, preset("captioner/nano"), given))


def preset(name: str) -> Path:
    """A job's YAML file."""
    return Path(__file__).parents[1] / "jobs" / "configs" / f"{name}.yaml"


def tuned(output: str, rows: str, base: str, arm: str, steps: int) -> Result:
    """Tuned on the truth of a result's train split."""
    how = ARMS[arm]
    loop = {
        "steps": steps, "batch_size": 32, "learning_rate": RATES[how.get("method", "lora")], "warmup_steps": 20,
        "schedule": "linear", "decay_from": 0.6, "weight_decay": 0.01, "betas": [0.9, 0.99], "checkpoint_every": steps,
    }  # fmt: skip
    config = {
        "output": output, "rows": rows, "base": base, "learn": {"answers": "attributes"}, "image_side": 64,
        "max_length": 256, "validation_samples": 0, "answers": 0, "loop": loop,
    }  # fmt: skip
    return tuning.run(validate(tuning.TuneConfig, config | how))


def asked(output: str, rows: str, model: str) -> Result:
    """Captioned by vLLM."""
    config = {
        "output": output,
        "rows": rows,
        "captioner": model,
        "engine": {"enforce_eager": True, "kv_cache_gib": 0.125},
    }
    return captioning.run(validate(captioning.CaptionConfig, config))


def right(captions: Result) -> tuple[list[str], list[str], dict[str, np.ndarray]]:
    """Ids and patients of the rows, and whether each attribute was said right; what was not said is wrong."""
    columns = ["sample_id", "patient_id", *(name for pair in accuracy.SAID.values() for name in pair)]
    rows = read_columns(f"{captions.data}/rows", columns).sort_by("sample_id").to_pylist()
    found = {
        key: np.array([row[said] == row[true] for row in rows], float) for key, (said, true) in accuracy.SAID.items()
    }
    return [row["sample_id"] for row in rows], [row["patient_id"] for row in rows], found


def rises(before: Result, after: Result) -> dict[str, tuple[float, float, float, float, float]]:
    """By attribute: accuracy before, after, their difference and its 95% interval over patients."""
    (ids, patients, then), (same, _, now) = right(before), right(after)
    assert ids == same, "the same images"
    told = {}
    for key in accuracy.SAID:
        gain = now[key] - then[key]
        interval = cluster_interval(lambda w, gain=gain: w @ gain / w.sum(1), patients, RESAMPLES, 0)  # type: ignore[misc]
        told[key] = (float(then[key].mean()), float(now[key].mean()), float(gain.mean()), *interval)
    return told


def table(told: dict[str, tuple[float, float, float, float, float]]) -> str:
    """Markdown."""
    lines = ["| attribute | before | after | difference | 95% interval |", "|---|---|---|---|---|"]
    for key, (before, after, gain, low, high) in told.items():
        lines.append(f"| {key} | {before:.3f} | {after:.3f} | {gain:+.3f} | {low:+.3f} to {high:+.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Print a table an arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--phantoms", type=int, default=3000)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=250)
    given = parser.parse_args()
    place = lambda name: f"{given.output}/{name}"  # noqa: E731
    base = start(place("captioner"))
    rows, held_out = phantoms(place("ingest"), given.phantoms, 11), phantoms(place("held_out"), given.held_out, 12)
    before = asked(place("before"), held_out.uri, base.uri)
    for arm in given.arms:
        model = tuned(place(arm), rows.uri, base.uri, arm, given.steps)
        after = asked(place(f"after_{arm}"), held_out.uri, model.uri)
        metrics = model.manifest.metrics
        merged = f"merged: {metrics['merged']}" if metrics.get("merged") else "served as it is"
        print(
            f"\n## {arm}: {metrics['weights']['trained']:,} weights trained, {merged}\n\n"
            f"{table(rises(before, after))}\n"
        )
        print(
            f"{model.manifest.rows.ok} phantoms, {given.steps} steps of 32, {model.manifest.seconds:.0f} s", flush=True
        )


if __name__ == "__main__":
    main()
