"""What stages have done, in Ray's metrics, which a cluster's Prometheus reads from each node.

What is done again after a crash counts again: manifests have the exact numbers. Nothing is counted outside Ray.
"""

from collections import Counter
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# Ray puts `ray_` before these names. Tags by name, and what they mean.
COUNTERS = {
    "dermray_rows": (("stage", "status"), "Rows that a stage has made"),
    "dermray_tokens": (("stage", "direction"), "Tokens of questions and images (in) and of answers (out)"),
    "dermray_checkpoints": ((), "Checkpoints that trainings have saved"),
}
DIRECTIONS = {"tokens_in": "in", "tokens_out": "out"}  # by column


def count_rows(stage: str, rows: pa.Table) -> None:
    """Add a block's rows, by its column `status`, and their tokens where it has columns of these."""
    import ray

    if not ray.is_initialized():
        return
    for status, number in Counter(rows["status"].to_pylist()).items():
        _counter("dermray_rows").inc(number, {"stage": stage, "status": status})
    for column in DIRECTIONS.keys() & set(rows.column_names):
        if tokens := pc.sum(rows[column]).as_py():
            _counter("dermray_tokens").inc(tokens, {"stage": stage, "direction": DIRECTIONS[column]})


def count_checkpoint() -> None:
    """Add a checkpoint."""
    import ray

    if ray.is_initialized():
        _counter("dermray_checkpoints").inc(1)


@cache
def _counter(name: str) -> Any:
    from ray.util.metrics import Counter as RayCounter

    tags, description = COUNTERS[name]
    return RayCounter(name, description=description, tag_keys=tags)
