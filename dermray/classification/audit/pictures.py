"""From lines of the plan to rows with pictures and scores, and from these rows to arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from dermray.classification.audit.lesions import PLAN, versions
from dermray.classification.audit.painters import Painter
from dermray.classification.audit.shifts import Scored
from dermray.classification.audit.wording import Attribute
from dermray.classification.batches import InMemory
from dermray.classification.saved import Saved
from dermray.classification.training import probabilities
from dermray.datasets.decode import square
from dermray.datasets.phantom import encode_png

OWN, OTHER_SEED = 0, 1  # places among a lesion's versions
ROWS = pa.schema(
    [
        *PLAN,
        # lists, an item a version
        ("attribute", pa.list_(pa.string())),  # which was changed; null where none was
        ("value", pa.list_(pa.string())),  # to what
        ("version_prompt", pa.list_(pa.string())),
        ("images", pa.list_(pa.binary())),  # PNG
        ("score", pa.list_(pa.float64())),
        ("change", pa.list_(pa.float64())),  # from the first picture: root mean square over pixels, of 255 levels
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)


def drawn(
    lesions: list[dict[str, Any]], attributes: Sequence[Attribute], painter: Painter, classifier: Saved, number: int
) -> pa.Table:
    """Rows of ROWS, a lesion each: all its pictures are made together, so that no pair is torn apart.

    Args:
        lesions: lines of the plan. number: of the class whose probability is the score.
    """
    wanted = [versions(lesion, attributes) for lesion in lesions]
    pictures = painter(lesions, wanted)
    size = classifier.image_size
    shown = np.stack([square(Image.fromarray(picture), size) for picture in pictures])
    scores = probabilities(classifier.model, InMemory(shown), np.arange(len(shown)))[:, number]
    rows, first = list[dict[str, Any]](), 0
    for lesion, of_lesion in zip(lesions, wanted, strict=True):
        part = slice(first, first + len(of_lesion))
        failed = not np.isfinite(scores[part]).all()
        rows.append(
            lesion
            | {
                "attribute": [version.attribute for version in of_lesion],
                "value": [version.value for version in of_lesion],
                "version_prompt": [version.prompt for version in of_lesion],
                "images": [encode_png(picture) for picture in pictures[part]],
                "score": scores[part].tolist(),
                "change": [_difference(picture, pictures[first]) for picture in pictures[part]],
                "status": "failed" if failed else "ok",
                "reason": "a score is no number" if failed else None,
            }
        )
        first = part.stop
    return pa.Table.from_pylist(rows, schema=ROWS)


def _difference(picture: np.ndarray, own: np.ndarray) -> float:
    return float(np.sqrt(np.mean((picture.astype(np.float32) - own) ** 2)))


def scored(rows: list[dict[str, Any]], attributes: Sequence[Attribute]) -> Scored:
    """The arrays of rows with status ok; their images are not needed."""
    score, change = ([row[name] for row in rows] for name in ("score", "change"))
    by_value, changes = {}, {}
    for attribute in attributes:
        shown = [places(row, attribute) for row in rows]
        by_value[attribute.name] = np.array([[s[p] for p in of_row] for s, of_row in zip(score, shown, strict=True)])
        changed = [[c[p] for p in of_row if p != OWN] for c, of_row in zip(change, shown, strict=True)]
        changes[attribute.name] = np.array([np.mean(of_row) for of_row in changed])
    own, other = (np.array([of_row[place] for of_row in score]) for place in (OWN, OTHER_SEED))
    groups = [row["leak_group"] for row in rows]
    return Scored(groups, own, other, by_value, np.array([c[OTHER_SEED] for c in change]), changes)


def places(row: dict[str, Any], attribute: Attribute) -> list[int]:
    """Of the versions that show each value in turn; the lesion's own value is shown by the first."""
    changed = {
        value: place
        for place, (name, value) in enumerate(zip(row["attribute"], row["value"], strict=True))
        if name == attribute.name
    }
    return [changed.get(value, OWN) for value in attribute.values]
