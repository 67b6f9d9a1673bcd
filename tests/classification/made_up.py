"""A sweep whose truth is known: scores drawn from normal distributions, no classifier and no image."""

import numpy as np
from scipy.special import softmax

from dermray.classification.held_out import HeldOut, Scored

ARMS = {  # name: role, ratio, how far the classes lie apart
    "shuffled labels": ("negative control", 2.0, 0.6),
    "real only": ("baseline", 0.0, 1.2),
    "real + synthetic 1:1": ("mixed", 1.0, 1.5),
    "real + synthetic 1:2": ("mixed", 2.0, 1.7),
    "synthetic only": ("synthetic only", 2.0, 1.1),
    "more real": ("positive control", 0.0, 2.2),
}


def held_out(images: int = 300, classes: tuple[str, ...] = ("benign", "malignant"), seed: int = 0) -> HeldOut:
    """Two images a patient, who has a tone and a sex."""
    rng = np.random.default_rng(seed)
    patient = np.arange(images) // 2
    tones = np.array(["A", "B", "C"])[rng.choice(3, images, p=[0.5, 0.4, 0.1])[patient]]
    return HeldOut(
        "drawn",
        classes,
        rng.integers(0, len(classes), images),
        [f"p{number}" for number in patient],
        {"skin_tone": list(tones), "sex": ["female" if number % 2 else "male" for number in patient]},
    )


def sweep(
    part: HeldOut,
    apart: dict[str, float] | None = None,
    real_images: tuple[int, ...] = (50,),
    backbones: tuple[str, ...] = ("x", "y"),
    seeds: int = 4,
    by_seed: float = 0.1,
    harder: float = 0.0,
) -> list[Scored]:
    """Every classifier of the grid.

    Args:
        apart: of an arm, instead of `ARMS`. by_seed: standard deviation between seeds of the classes' distance.
        harder: by how much less the classes of tone C lie apart.
    """
    rng, classes = np.random.default_rng(1), len(part.classes)
    image = rng.normal(0, 0.7, (len(part.labels), classes))  # how hard each is for all classifiers
    tone = np.array(part.attributes["skin_tone"]) == "C"
    scored = []
    for few in real_images:
        for backbone in backbones:
            for seed in range(seeds):
                for arm, (role, ratio, usual) in ARMS.items():
                    distance = (apart or {}).get(arm, usual) + rng.normal(0, by_seed) + 0.1 * np.log2(few / 50)
                    logits = image + rng.normal(0, 0.7, image.shape)
                    logits[np.arange(len(tone)), part.labels] += distance - harder * tone
                    real = {"synthetic only": 0, "positive control": 3 * few}.get(role, few)
                    said, images = softmax(logits, axis=1), (real, round(few * ratio))
                    scored.append(Scored(arm, role, few, backbone, seed, said, ratio, trained_on=images))
    return scored
