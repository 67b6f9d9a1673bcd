"""Which of paper 002's three training scales the images fill, source by source (its section 2.1 and Table 1).

The paper gives one scale to each data set; here every image counts at the largest that its shorter side fills, which is
the bucket that a training with `buckets=[128, 256, 512]` puts it into.
"""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

SCALES = (128, 256, 512)  # px
BELOW = f"below {SCALES[0]}"
COLUMNS = ["source", "status", "width", "height"]


def scales(batch: pa.RecordBatch) -> dict[str, Counter[str]]:
    """source -> scale -> usable images, of rows with COLUMNS."""
    usable = batch.filter(pc.field("status") == "ok")
    side = pc.min_element_wise(usable["width"], usable["height"])
    scale = pa.nulls(len(usable), pa.string()).fill_null(BELOW)
    for least in SCALES:
        scale = pc.if_else(pc.greater_equal(side, least), str(least), scale)
    found: dict[str, Counter[str]] = {}
    counted = pa.table({"source": usable["source"], "scale": scale}).group_by(["source", "scale"])
    for row in counted.aggregate([([], "count_all")]).to_pylist():
        found.setdefault(row["source"], Counter())[row["scale"]] = row["count_all"]
    return found


def in_order(counts: Counter[str]) -> dict[str, int]:
    """The smallest scale first; all of them, also those that no image fills."""
    return {name: counts[name] for name in (BELOW, *map(str, SCALES))}


def messages(facts: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each source."""
    return [
        f"{source}: shorter side {', '.join(f'{name} px: {number}' for name, number in counts.items())} images"
        for source, counts in facts.items()
    ]
