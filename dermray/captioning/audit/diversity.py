"""Whether captions differ, how long they are, how much of A, B and C they cover."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

from dermray.captioning.reading import parse

SELF_BLEU_TEXTS = 200  # each is held against all others of them
NEAR = 0.95  # cosine of TF-IDF vectors above which two captions count as near-duplicates
NEAR_TEXTS = 5000


def distinct(texts: list[str], n: int) -> float:
    """Different n-grams over all n-grams (distinct-n of Li et al. 2016)."""
    grams: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = text.lower().split()
        grams.update(zip(*(itertools.islice(words, i, None) for i in range(n)), strict=False))
    return len(grams) / grams.total() if grams else 0.0


def self_bleu(texts: list[str]) -> float:
    """Mean BLEU-4 of each text against all others, smoothed (Zhu et al. 2018); 1 where all are alike."""
    from torchmetrics.functional.text import bleu_score  # its import takes seconds

    texts = texts[:SELF_BLEU_TEXTS]
    if len(texts) < 2:
        return 0.0
    others = ([other for j, other in enumerate(texts) if j != i] for i in range(len(texts)))
    return float(np.mean([bleu_score([t], [o], smooth=True).item() for t, o in zip(texts, others, strict=True)]))


def near_duplicates(texts: list[str]) -> float:
    """Share of texts that have a near-duplicate among the others."""
    texts = texts[:NEAR_TEXTS]
    if len(texts) < 2 or not any(text.split() for text in texts):
        return 0.0
    vectors = TfidfVectorizer(token_pattern=r"\S+").fit_transform(texts)
    distances, _ = NearestNeighbors(n_neighbors=2, metric="cosine").fit(vectors).kneighbors(vectors)
    return float(np.mean(distances[:, 1] <= 1 - NEAR))


def describe(texts: list[str]) -> dict[str, Any]:
    """All of it for one captioner's answers."""
    lengths = [len(text.split()) for text in texts]
    said = [parse(text).attributes for text in texts]
    return {
        "distinct_1": distinct(texts, 1),
        "distinct_2": distinct(texts, 2),
        "different": len(set(texts)) / len(texts),
        "self_bleu": self_bleu(texts),
        "near_duplicates": near_duplicates(texts),
        "words": {f"{int(100 * q)}%": float(np.quantile(lengths, q)) for q in (0.05, 0.5, 0.95)},
        "coverage": {
            "asymmetry": float(np.mean([a.asymmetry is not None for a in said])),
            "border": float(np.mean([a.border_irregular is not None for a in said])),
            "colours": float(np.mean([bool(a.colours) for a in said])),
            "all three": float(
                np.mean([a.asymmetry is not None and a.border_irregular is not None and bool(a.colours) for a in said])
            ),
        },
    }
