"""Results made by hand: phantoms with their truth, and pairs about them whose answers are known."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dermray import manifest
from dermray.config import Config
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.manifest import Rows
from dermray.records import IMAGES, INSTRUCTED, conform, sample_id

REFERENCE = "A flat patch with an irregular border and several shades of brown."


class MadeConfig(Config):
    """Of a result that no stage made."""

    output: str


def phantoms(count: int) -> list[dict[str, Any]]:
    """Rows of the test split, two to a leak group, and one of the train split."""
    rows = []
    for i in range(count + 1):
        row = phantom_row(i, SourceConfig(count=count + 1, size=16, broken=0, duplicates=0))
        rows.append(row | {
            "sample_id": sample_id(row["image"]), "status": "ok", "split": "test" if i < count else "train",
            "leak_group": f"g{i // 2}", "sex": ("female", "male")[i % 2], "age": 20.0 + i,
        })  # fmt: skip
    return rows


def made(directory: Path, stage: str, rows: list[dict[str, Any]], schema: pa.Schema = IMAGES) -> str:
    """A finished result of a stage that holds these rows."""
    with manifest.work(stage, str(directory), MadeConfig(output=str(directory)), {}) as work:
        Path(work.data, "rows").mkdir(parents=True)
        pq.write_table(conform(rows, schema), Path(work.data, "rows", "a.parquet"))
        work.commit(Rows(rows_in=len(rows), ok=len(rows), rejected=0, failed=0), len(rows))
    return str(directory)


def instructed(directory: Path, count: int) -> str:
    """As instruct leaves it: of each image a good pair and one that was rejected."""
    good = {"question": "What does the patch look like?", "answer": REFERENCE, "kind": "general", "status": "ok"}
    bad = {"question": "How old is the patient?", "answer": "61.", "kind": "general", "status": "rejected",
           "reason": "states an age"}  # fmt: skip
    rows = [row | {"pairs": [bad, good]} for row in phantoms(count)]
    return made(directory, "instruct", rows, INSTRUCTED)
