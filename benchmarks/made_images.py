"""The same random images as a generate result and as files."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from dermray.manifest import Manifest, Result, Rows
from dermray.records import SYNTHETIC, conform, sample_id

SIDE = 64  # px


def picture(rng: np.random.Generator, shift: float) -> bytes:
    """A PNG of smooth random colours."""
    small = np.clip(rng.normal(128 + shift, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def make(folder: Path, count: int, shift: float, seed: int) -> Result:
    """The same images as rows, below `folder`/data/rows, and as files, below `folder`/files."""
    rng, (rows, files) = np.random.default_rng(seed), (folder / "data" / "rows", folder / "files")
    rows.mkdir(parents=True)
    files.mkdir()
    for start in range(0, count, 500):
        images = [picture(rng, shift) for _ in range(min(500, count - start))]
        table = [
            {"image": image, "sample_id": sample_id(image), "plan_id": f"{start + i:010d}", "width": SIDE,
             "height": SIDE, "status": "ok", "origin": "synthetic"}
            for i, image in enumerate(images)
        ]  # fmt: skip
        pq.write_table(conform(table, SYNTHETIC), rows / f"{start:09}.parquet")
        for i, image in enumerate(images):
            (files / f"{start + i:09}.png").write_bytes(image)
    counts = Rows(rows_in=count, ok=count, rejected=0, failed=0)
    manifest = Manifest(stage="generate", key=folder.name, config={}, inputs={}, data="data", rows=counts, versions={},
                        started=0, seconds=0, cpus=0, gpus=0)  # fmt: skip
    return Result(str(folder), manifest)
