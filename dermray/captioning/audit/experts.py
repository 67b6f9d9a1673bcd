"""Several captioners on the same images, side by side for experts who do not know which is which; their agreement.

The page keeps no secrets: columns are shuffled per image by a seed, and which captioner stood where is computed again
from the seed when the answers come back.
"""

import hashlib
import json
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from dermray import storage

GRADES = ("wrong", "partly right", "right")


def order(sample_id: str, captioners: int, seed: int) -> list[int]:
    """Which captioner stands in which column of an image."""
    digest = hashlib.sha256(f"{seed} {sample_id}".encode()).digest()
    return [int(i) for i in np.random.default_rng(list(digest)).permutation(captioners)]


def read_answers(uri: str) -> dict[str, Any]:
    """What an expert's page saved: {"expert": name, "seed": n, "grades": {sample_id: [grade per column]}}.

    Raises:
        ValueError: another file, or a grade out of range.
    """
    try:
        found = json.loads(storage.read_bytes(storage.normalise(uri)))
        assert {"expert", "seed", "grades"} <= found.keys()
    except (json.JSONDecodeError, AssertionError, AttributeError):
        raise ValueError(f"expert_answers={uri}: expected the JSON file that the comparison page saves") from None
    wrong = {g for grades in found["grades"].values() for g in grades if g is not None and g not in range(len(GRADES))}
    if wrong:
        raise ValueError(f"expert_answers={uri}: grades {sorted(map(str, wrong))}, expected 0 to {len(GRADES) - 1}")
    return dict(found)


def agreement(answers: list[dict[str, Any]], captioners: list[str], seed: int) -> dict[str, Any]:
    """Each captioner's mean grade per expert, and Cohen's kappa of every two experts over all captions both graded.

    `kappa` takes grades as categories, `weighted_kappa` counts disagreements by their squared distance. Either is
    None where both experts gave one grade to everything: chance agreement is then all there is.

    Raises:
        ValueError: answers to another page.
    """
    graded = {a["expert"]: _by_captioner(a, len(captioners), seed) for a in answers}
    if len(graded) < len(answers):
        raise ValueError(f"expert_answers: {len(answers)} files of {len(graded)} experts; each needs a name of its own")
    means = {
        expert: {
            name: float(np.mean([float(g) for (_, c), g in grades.items() if c == i] or [np.nan]))
            for i, name in enumerate(captioners)
        }
        for expert, grades in graded.items()
    }
    pairs = []
    experts = sorted(graded)
    for i, first in enumerate(experts):
        for second in experts[i + 1 :]:
            both = sorted(graded[first].keys() & graded[second].keys())
            a, b = ([graded[e][key] for key in both] for e in (first, second))
            pairs.append({"experts": [first, second], "captions": len(both)} | _kappas(a, b))
    return {"mean_grade": means, "agreement": pairs, "grades": list(GRADES)}


def _by_captioner(answers: dict[str, Any], captioners: int, seed: int) -> dict[tuple[str, int], int]:
    if answers["seed"] != seed or any(len(grades) != captioners for grades in answers["grades"].values()):
        raise ValueError(f"expert {answers['expert']!r}: answers to another comparison page (other captioners or seed)")
    return {
        (sample, captioner): grade
        for sample, grades in answers["grades"].items()
        for captioner, grade in zip(order(sample, captioners, seed), grades, strict=True)
        if grade is not None
    }


def _kappas(a: list[int], b: list[int]) -> dict[str, float | None]:
    if not a or len({*a, *b}) == 1:
        return {"kappa": None, "weighted_kappa": None}
    labels = list(range(len(GRADES)))
    return {
        "kappa": float(cohen_kappa_score(a, b, labels=labels)),
        "weighted_kappa": float(cohen_kappa_score(a, b, labels=labels, weights="quadratic")),
    }
