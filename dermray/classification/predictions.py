"""What a classifier says of images, as columns."""

import numpy as np
import pyarrow as pa

from dermray.classification.targets import Target


def schema(target: Target) -> pa.Schema:
    """A row per image."""
    return pa.schema(
        [
            ("sample_id", pa.string()),
            ("source", pa.string()),
            ("source_id", pa.string()),
            ("split", pa.string()),
            ("truth", pa.string()),  # the row's own label by the classifier's classes; null if unknown
            ("label", pa.string()),  # the class with the highest score; of two the one by the classifier's threshold
            *((name, pa.float64()) for name in score_names(target)),
            ("model", pa.string()),  # manifest key of the classifier, or a zero-shot model's name@revision
            ("status", pa.string()),
            ("reason", pa.string()),
        ]
    )


def score_names(target: Target) -> list[str]:
    """Columns of scores, one for each class in order: score_benign, score_malignant."""
    return [f"score_{name}" for name in target.classes]


def score_columns(target: Target, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Scores (N, C) by column."""
    return dict(zip(score_names(target), scores.T, strict=True))
