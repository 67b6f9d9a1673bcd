"""A population of phantoms, the embedded default: patients with several lesions, repeated and broken files.

Attributes are drawn independently of each other, so that no reader can answer one from another. Malignancy
follows an ABC score, in the spirit of the ABCD rule (Nachbar et al. 1994) with the colours of melanoma weighing
more, through a logistic curve: no classifier can be perfect, and even the best one has the area under the ROC
curve that `best_auc` computes.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from dermray.config import Config
from dermray.datasets.decode import png
from dermray.datasets.renderer import Truth, draw_truth, render
from dermray.datasets.sources import MOST_BLOCKS, Reading
from dermray.records import IMAGES, SKIN_TONES, conform

ASYMMETRY, BORDER = 0.9, 0.6
COLOUR_WEIGHTS = {"white": 1.0, "red": 0.5, "light brown": -1.0, "dark brown": -0.3, "blue-gray": 1.8, "black": 1.8}
THRESHOLD, STEEPNESS = 2.3, 2.2
LESIONS_PER_PATIENT = 3
SEXES, SITES = ("female", "male"), ("back", "chest", "face", "arm", "leg")


class SourceConfig(Config):
    """How many phantoms, and how many of them spoilt."""

    count: int = Field(2000, ge=1, description="files, spoilt ones included")
    size: int = Field(64, ge=16, le=1024, description="px")
    seed: int = Field(0, ge=0)
    duplicates: float = Field(
        0.01, ge=0, le=0.5, description="share of files that repeat the file before, byte for byte"
    )
    broken: float = Field(0.005, ge=0, le=0.5, description="share of files that are empty, cut short or no image")
    modality: Literal["dermoscopic", "clinical"] = Field(
        "dermoscopic", description="that rows claim, for test sets chosen by it; the pictures are the same"
    )
    confounded: float = Field(
        0,
        ge=0,
        le=1,
        description="share of lesions on skin that tells their label: C if malignant, A if benign",
    )
    entities: bool = Field(False, description="one of the seven, by label and colours; else every phantom is other")
    bytes_per_block: int = Field(16 << 20, ge=1 << 16)


def malignant_probability(truth: Truth) -> float:
    """Chance that a lesion with this truth is malignant."""
    score = ASYMMETRY * truth.asymmetry + BORDER * truth.border_irregular
    score += sum(COLOUR_WEIGHTS[colour] for colour in truth.colours)
    return 1 / (1 + math.exp(-STEEPNESS * (score - THRESHOLD)))


def best_auc(count: int = 20000, seed: int = 0) -> float:
    """Area under the ROC curve of a judge who knows the truth: no classifier can do better."""
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    probability = np.array([malignant_probability(draw_truth(rng)) for _ in range(count)])
    return float(roc_auc_score(rng.random(count) < probability, probability))


def entity_of(truth: Truth, malignant: bool) -> str:
    """One of the seven entities, which the label and what is painted decide: no lesion looks like its entity here.

    The rules share phantoms out so that each of the seven has 8 to 32 of a hundred.
    """
    if malignant:
        return "mel" if "blue-gray" in truth.colours else "akiec" if "red" in truth.colours else "bcc"
    if "red" in truth.colours:
        return "vasc"
    return "df" if "white" in truth.colours else "bkl" if truth.border_irregular else "nv"


def phantom_row(index: int, config: SourceConfig) -> dict[str, Any]:
    """File `index` of the population. A repeat shows the lesion before it; some files are spoilt."""
    rng = np.random.default_rng((config.seed, index, 2))
    if index > 0 and rng.random() < config.duplicates:
        return phantom_row(index - 1, config) | {"source_id": f"phantom-{config.seed}-{index:08d}"}
    spoilt = rng.random() < config.broken
    patient = index // LESIONS_PER_PATIENT
    person = np.random.default_rng((config.seed, patient, 4))
    truth = replace(draw_truth(rng), skin_tone=str(person.choice(SKIN_TONES)))
    malignant = bool(rng.random() < malignant_probability(truth))
    if np.random.default_rng((config.seed, index, 5)).random() < config.confounded:
        truth = replace(truth, skin_tone="C" if malignant else "A")
    png = encode_png(render(truth, (config.seed, index, 3), config.size).image)
    entity = entity_of(truth, malignant) if config.entities else "other"
    return {
        "image": _spoil(png, rng) if spoilt else png,
        "source": "phantom",
        "source_id": f"phantom-{config.seed}-{index:08d}",
        "patient_id": f"phantom/{config.seed}/{patient}",
        "lesion_id": f"phantom/{config.seed}/{patient}/{index % LESIONS_PER_PATIENT}",
        "diagnosis": f"{entity} phantom" if config.entities else f"{'malignant' if malignant else 'benign'} phantom",
        "entity": entity,
        "malignant": malignant,
        "modality": config.modality,
        "skin_tone": truth.skin_tone,
        "skin_tone_source": "metadata",
        "age": float(person.integers(20, 86)),
        "sex": str(person.choice(SEXES)),
        "site": str(rng.choice(SITES)),
        "licence": "CC0-1.0",
        "true_asymmetry": truth.asymmetry,
        "true_border_irregular": truth.border_irregular,
        "true_colours": list(truth.colours),
    }


def encode_png(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as PNG."""
    return png(Image.fromarray(image))


def _spoil(png: bytes, rng: np.random.Generator) -> bytes:
    """Empty, cut short, or a text file: each unlike every other, as real broken files are."""
    return [b"", png[: len(png) // 2], f"not an image {rng.integers(1 << 40)}".encode()][int(rng.integers(3))]


def read(config: SourceConfig) -> Reading:
    """The population, each block rendered where it is needed."""
    import ray.data

    blocks = min(config.count, max(2, config.count * config.size**2 * 2 // config.bytes_per_block))
    ends = [config.count * block // blocks for block in range(blocks + 1)]
    shares = [{"first": first, "end": end} for first, end in pairwise(ends)]
    places = ray.data.from_items(shares, override_num_blocks=min(blocks, MOST_BLOCKS))
    return Reading(places, partial(_rendered, config=config), {}, config.count)


def _rendered(shares: Any, config: SourceConfig) -> Iterator[Any]:
    for share in shares.to_pylist():
        yield conform([phantom_row(i, config) for i in range(share["first"], share["end"])], IMAGES)
