"""What to draw: equally many images of every cell, label x skin tone, each from a training caption of that cell."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa

PLAN = pa.schema(
    [
        ("plan_id", pa.string()),
        ("malignant", pa.bool_()),
        ("skin_tone", pa.string()),
        ("diagnosis", pa.string()),
        ("entity", pa.string()),
        ("modality", pa.string()),
        ("prompt", pa.string()),
        ("prompt_sample_id", pa.string()),
        ("seed", pa.int64()),
    ]
)
Cell = tuple[bool, str | None]


def balanced_plan(captions: list[dict[str, Any]], count: int, seed: int) -> pa.Table:
    """`count` requests over the cells that have training captions, as even as `count` allows.

    Args:
        captions: rows with caption, sample_id, malignant, skin_tone (None is a cell of its own), diagnosis, entity,
            modality.

    Raises:
        ValueError: no caption with a known label.
    """
    cells: dict[Cell, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(captions, key=lambda row: str(row["sample_id"])):
        if row["malignant"] is not None:
            cells[(row["malignant"], row["skin_tone"])].append(row)
    if not cells:
        raise ValueError("no training caption has a known label: nothing to balance over")
    order = sorted(cells, key=lambda cell: (cell[0], cell[1] or ""))
    rows = [_request(i, cells[order[i % len(order)]], seed) for i in range(count)]
    return pa.Table.from_pylist(rows, schema=PLAN)


def _request(number: int, captions: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng((seed, number))
    source = captions[int(rng.integers(len(captions)))]
    kept = ("malignant", "skin_tone", "diagnosis", "entity", "modality")
    return {name: source[name] for name in kept} | {
        "plan_id": f"{number:010d}",
        "prompt": source["caption"],
        "prompt_sample_id": source["sample_id"],
        "seed": int(rng.integers(1 << 62)),
    }


def cell_counts(plan: pa.Table) -> dict[str, int]:
    """Requests per cell."""
    return dict(Counter(map(cell_name, plan.select(["malignant", "skin_tone"]).to_pylist())))


def cell_name(row: dict[str, Any]) -> str:
    """A row's cell in words."""
    return f"{'malignant' if row['malignant'] else 'benign'}, skin tone {row['skin_tone'] or 'unknown'}"
