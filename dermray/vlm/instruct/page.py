"""The page of a result: numbers, then images beside their pairs, then rows without any and why."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from dermray import pages
from dermray.captioning.summary import examples

SHOWN = ["pairs", "answer", "status", "reason", "source", "modality", "source_id"]


def render(good: pa.Table, bad: pa.Table, told: dict[str, Any], title: str) -> str:
    """HTML.

    Args:
        good: sample_id and FILE of rows with pairs. bad: of rows without. told: what `summary.json` says.
    """
    return pages.render(
        Path(__file__).parent / "page.html",
        title=title,
        told=told,
        statistics=told["statistics"],
        good=examples(good, SHOWN),
        bad=examples(bad, SHOWN),
    )
