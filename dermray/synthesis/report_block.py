"""What a generate stage says in a run's report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dermray import pages
from dermray.datasets.decode import portable
from dermray.manifest import Result
from dermray.pages import Block
from dermray.picked import pick, take

TEMPLATE = Path(__file__).parent / "report_block.html"
SHOWN = 3  # synthetic images
WANTED = ["prompt", "prompt_sample_id", "nearest_sample_id", "nearest_distance", "seed", "generator"]


def report_block(result: Result, inputs: Mapping[str, Result]) -> Block:
    """Synthetic images beside what they were made from and what they are nearest to; and what the gate did."""
    shown = examples(result, inputs["rows"]) if "rows" in inputs else []  # none where its rows have gone
    html = pages.render(TEMPLATE, manifest=result.manifest, examples=shown)
    return Block("From image to synthetic image", html)


def examples(drawn: Result, rows: Result) -> list[dict[str, Any]]:
    """Synthetic images beside the training image whose caption was the prompt, and the nearest training image."""
    chosen = _with_urls(pick(drawn.row_files(), WANTED, pc.field("status") == "ok", SHOWN))
    ids = [row[name] for row in chosen for name in ("prompt_sample_id", "nearest_sample_id")]
    named = pick(rows.row_files(), ["source_id", "answer"], pc.field("sample_id").isin(ids))
    real = {row["sample_id"]: row for row in _with_urls(named)}
    return [
        row | {"source": real[row["prompt_sample_id"]], "nearest": real[row["nearest_sample_id"]]} for row in chosen
    ]


def _with_urls(picked: pa.Table) -> list[dict[str, Any]]:
    urls = [pages.data_url(portable(image, pages.SIDE)) for image in take(picked)]
    return [row | {"url": url} for row, url in zip(picked.to_pylist(), urls, strict=True)]
