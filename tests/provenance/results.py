"""A result of the generate stage, written without drawing."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from dermray import manifest, storage
from dermray.manifest import Result, Rows
from dermray.provenance import text
from dermray.records import SYNTHETIC, conform, sample_id


class Asked(BaseModel):
    """Any config."""

    family: str = "pixel_dermdit"


def pixels_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def row(number: int, status: str = "ok", with_text: bool = True) -> dict[str, Any]:
    drawn = {"family": "pixel_dermdit", "generator": "0123456789ab", "licence": "CC0-1.0", "seed": number,
             "prompt": f'malignant: "red", {number}', "guidance_scale": 2.0}  # fmt: skip
    png = text.png(pixels_of(number), text.said(steps=12, **drawn) if with_text else {})  # type: ignore[arg-type]
    return {"image": png, "sample_id": sample_id(png), "width": 8, "height": 8, "origin": "synthetic", "split": "train",
            "malignant": number % 2 == 0, "skin_tone": "B", "skin_tone_source": "metadata", "entity": "nv",
            "source": "synthetic", "source_id": f"g-{number}", "plan_id": str(number), "sampling_steps": 12,
            "status": status, "reason": None if status == "ok" else "too near", **drawn}  # fmt: skip


def generated(place: str, rows: list[dict[str, Any]], per_file: int = 100) -> Result:
    """These rows as the result of a generate stage at `place`."""
    with manifest.work("generate", place, Asked(), {}) as work:
        for start in range(0, len(rows), per_file):
            sink = pa.BufferOutputStream()
            pq.write_table(conform(rows[start : start + per_file], SYNTHETIC), sink)
            data = sink.getvalue().to_pybytes()
            storage.write_bytes(storage.join(work.data, "rows", f"{start:05d}.parquet"), data)
        ok = sum(row["status"] == "ok" for row in rows)
        return work.commit(Rows(rows_in=len(rows), ok=ok, rejected=len(rows) - ok, failed=0), len(rows))


def files(directory: Path) -> dict[str, bytes]:
    """Names and bytes below a directory, without claims."""
    found = (f for f in directory.rglob("*") if f.is_file() and not f.name.startswith("claim."))
    return {str(f.relative_to(directory)): f.read_bytes() for f in found}
