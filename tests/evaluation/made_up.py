"""Stored features that no network computed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dermray.evaluation.extraction import key, part, vectors
from dermray.evaluation.stored import Stored


def stored(
    folder: Path,
    features: np.ndarray,
    *,
    name: str = "image",
    leak_groups: list[str] | None = None,
    groups: dict[str, list[str | None]] | None = None,
    logits: np.ndarray | None = None,
    rows_per_file: int = 64,
) -> Stored:
    """(N, D) features as `extraction.extract` writes them."""
    ids = [f"{name} {i}" for i in range(len(features))]
    columns = {
        "status": ["ok"] * len(ids),
        "reason": pa.nulls(len(ids), pa.string()),
        "key": pa.array([key(one) for one in ids], pa.uint64()),
        "part": pa.array([part(one) for one in leak_groups or ids], pa.uint8()),
        "features_0": vectors(features),
    }
    columns |= {name: pa.array(of_row, pa.string()) for name, of_row in (groups or {}).items()}
    if logits is not None:
        columns["logits_0"] = vectors(logits)
    table = pa.table(columns)
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, len(ids), rows_per_file)):
        pq.write_table(table.slice(start, rows_per_file), folder / f"{number:06}.parquet", use_dictionary=False)
    return Stored(str(folder))


def gaussian(count: int, width: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """(count, width) float32."""
    return np.random.default_rng(seed).normal(shift, 1, (count, width)).astype(np.float32)
