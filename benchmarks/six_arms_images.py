"""The images of `six_arms_on_photographs`: photographs, and what a nano generator draws that saw their train split.

Two sources of dermoscopic photographs, split once: the splits are fixed before anything is trained. The generator is
a nano model trained for minutes: its 64 px images look like lesions out of focus.
"""

from typing import Any

from dermray.config import validate
from dermray.manifest import Result
from dermray.pipeline import PipelineConfig, command, load

FRACTIONS = {"train": 0.45, "val": 0.2, "test": 0.35}
LOOP = {"batch_size": 32, "optimizer": "muon", "workers": 1, "checkpoint_every": 100}


def config(data: str, output: str) -> PipelineConfig:
    """The stages before the sweep.

    Args:
        data: directory of ham10000_nc_subset and isic_uda1. output: of all stages.
    """
    stages: dict[str, Any] = {
        "ingest": {
            "sources": [
                {"source": "ham10000", "path": f"{data}/ham10000_nc_subset"},
                {"source": "isic_archive", "path": f"{data}/isic_uda1"},
            ],
            "fractions": FRACTIONS,
        },
        "captioner": {
            "phantoms": 4000,
            "eye_share": 0.5,
            "loop": LOOP
            | {"steps": 300, "learning_rate": 5e-3, "betas": [0.9, 0.98], "decay_from": 0.6, "ema_decay": 0.0},
        },
        "caption": {
            "rows": {"from": "ingest"},
            "captioner": {"from": "captioner"},
            "prompt_set": "abc",
            "metadata": ["malignant", "entity", "sex", "age"],
            "engine": {"enforce_eager": True, "kv_cache_gib": 0.125},
        },
        "train": {
            "rows": {"from": "caption"},
            "family": "pixel_dermdit",
            "model": {"image_size": 64},
            "loop": LOOP | {"steps": 400, "learning_rate": 4e-3},
        },
        "generate": {
            "generator": {"from": "train"},
            "rows": {"from": "caption"},
            "count": 240,
            "guidance_scale": 2.0,
            "sampling_steps": 12,
        },
    }
    return validate(PipelineConfig, {"output": output, "stages": stages})


def make(data: str, output: str) -> dict[str, Result]:
    """Every stage's result by its name; those that are there already are found, not made again."""
    results = dict[str, Result]()
    for name, instance in load(config(data, output)).items():
        print(f"{name} ...", flush=True)
        results[name] = command(instance.stage)[1](instance.config)
    return results
