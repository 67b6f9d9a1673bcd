"""How well synthetic images go with their prompts, by a CLIP; beside it the same with other images' prompts."""

from typing import Any

import numpy as np

from dermray.evaluation.samples import Sample
from dermray.evaluation.settings import EvaluationConfig
from dermray.training.clip_score import ClipScore

AT_ONCE = 32


def clip_agreement(fake: Sample, config: EvaluationConfig) -> dict[str, Any] | None:
    """Mean scores in [0, 100]; `other_prompts` is what images get that have nothing to do with their prompt.

    Returns:
        None where no CLIP is given.
    """
    if config.clip is None:
        return None
    clip = ClipScore(config.clip, config.clip_revision)
    prompts = fake.table["prompt"].to_pylist()
    own = _scores(clip, fake, prompts)
    others = [(i, other) for i, other in enumerate(_shuffled(prompts, config.seed)) if other != prompts[i]]
    shuffled = _scores(clip, Sample(fake.table, fake.images[[i for i, _ in others]]), [text for _, text in others])
    return {
        "images": len(own),
        "mean": float(np.mean(own)),
        "spread": float(np.std(own)),
        "other_prompts": float(np.mean(shuffled)) if shuffled else None,
    }


def _scores(clip: ClipScore, fake: Sample, prompts: list[str]) -> list[float]:
    found: list[float] = []
    for start in range(0, len(prompts), AT_ONCE):
        found += clip(list(fake.images[start : start + AT_ONCE]), prompts[start : start + AT_ONCE])
    return found


def _shuffled(prompts: list[str], seed: int) -> list[str]:
    return [prompts[i] for i in np.random.default_rng(seed).permutation(len(prompts))]
