"""A page that shows what the gate caught: each hit beside the training images that it is like."""

import heapq
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from dermray import pages, storage
from dermray.columns import batches
from dermray.datasets.decode import portable
from dermray.picked import pick, take
from dermray.row_files import RowFiles
from dermray.synthesis.gate.calibration import Calibration
from dermray.synthesis.gate.index import About

FILE = "gate.html"
SHOWN = 24  # images: the most similar ones
COLUMNS = ["sample_id", "reason", "nearest_distance", "nearest_sample_id", "embedded_distance", "embedded_sample_id"]


def write(data: str, captioned: str | RowFiles, about: About, calibration: Calibration, bytes_of_index: int) -> None:
    """The page of a generate stage's data, whose rows are all drawn."""
    closest, rejected = _closest(storage.join(data, "rows"), calibration)
    names = [row["sample_id"] for row in closest]
    neighbours = [row[name] for row in closest for name in ("nearest_sample_id", "embedded_sample_id")]
    urls = _urls(storage.join(data, "rows"), names) | _urls(captioned, neighbours)
    page = pages.render(
        Path(__file__).parent / "gate.html",
        title="Memorisation gate",
        about=about,
        calibration=calibration,
        closest=closest,
        rejected=rejected,
        urls=urls,
        bytes_per_image=bytes_of_index / about.images,
    )
    storage.write_bytes(storage.join(data, FILE), page.encode())


def _closest(rows: str, calibration: Calibration) -> tuple[list[dict[str, Any]], int]:
    """The rows most similar to training images, the most similar first, and how many were rejected."""

    def key(row: dict[str, Any]) -> tuple[float, str]:
        distances = row["nearest_distance"], row["embedded_distance"]
        return calibration.closeness(*distances) if calibration.false_rate else min(distances), row["sample_id"]

    closest, rejected = list[dict[str, Any]](), 0
    for batch in batches(rows, COLUMNS):
        some = batch.to_pylist()
        rejected += sum(row["reason"] is not None for row in some)
        closest = heapq.nsmallest(SHOWN, [*closest, *some], key=key)
    return closest, rejected


def _urls(rows: str | RowFiles, names: list[str]) -> dict[str, str]:
    """Images by their sample ids."""
    picked = pick(rows, [], pc.field("sample_id").isin(names))
    shown = (pages.data_url(portable(image, pages.SIDE)) for image in take(picked))
    return dict(zip(picked["sample_id"].to_pylist(), shown, strict=True))
