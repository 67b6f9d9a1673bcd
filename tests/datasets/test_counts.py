from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dermray.datasets.counts import Counts, count
from dermray.records import IMAGES, conform


def test_rows_are_counted_by_what_they_are(tmp_path: Path) -> None:
    told, guessed = ({"skin_tone": "B", "skin_tone_source": source} for source in ("metadata", "estimated"))
    rows: list[dict[str, Any]] = [
        {"status": "ok", "split": "train", "malignant": True, "licence": "CC0", "modification": "orientation 6; alpha"},
        {"status": "ok", "split": "test", "malignant": None, "licence": None, "modification": "alpha"} | guessed,
        {"status": "ok", "split": "train", "malignant": False, "licence": "CC0"} | told,
        {"status": "ok", "split": "train", "malignant": False, "licence": "CC0", "source": "b"},
        {"status": "rejected", "reason": "empty file", "malignant": True, "licence": "secret", "modification": "alpha"},
        {"status": "failed", "reason": "image file missing @ t.csv line 2"} | told,
        {"status": "failed", "reason": "image file missing @ t.csv line 3"},
    ]
    rows = [{"source": "a"} | row for row in rows]
    pq.write_table(conform(rows[:2], IMAGES), tmp_path / "a.parquet")
    pq.write_table(conform(rows[2:], IMAGES), tmp_path / "b.parquet")
    assert count(str(tmp_path)) == Counts(
        statuses=Counter({("ok", None): 4, ("rejected", "empty file"): 1, ("failed", "image file missing"): 2}),
        licences=Counter({("a", "CC0"): 2, ("a", "unknown"): 1, ("b", "CC0"): 1}),
        modifications=Counter({"orientation 6": 1, "alpha": 2}),
        labels={"malignant": 1, "benign": 2, "without a label": 1},
        splits={"test": 1, "train": 3},
        skin_tones={"B (estimated)": 1, "B (metadata)": 1, "unknown": 2},
    )
