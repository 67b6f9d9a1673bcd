"""Rows by stage and status in Ray's metrics, which a cluster's Prometheus reads from each node."""

from collections import Counter
from functools import cache
from typing import Any

import pyarrow as pa

NAME = "dermray_rows"  # Ray puts `ray_` before it


def count_rows(stage: str, rows: pa.Table) -> None:
    """Add a block's rows, by its column `status`; does nothing outside Ray.

    A block that is done again after a crash counts again: manifests have the exact numbers.
    """
    import ray

    if not ray.is_initialized():
        return
    for status, number in Counter(rows["status"].to_pylist()).items():
        _counter().inc(number, {"stage": stage, "status": status})


@cache
def _counter() -> Any:
    from ray.util.metrics import Counter as RayCounter

    return RayCounter(NAME, description="Rows that a stage has made", tag_keys=("stage", "status"))
