from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from dermray.captioning.accuracy import attribute_accuracy
from dermray.captioning.summary import Counts, count
from dermray.records import CAPTIONED, conform

TRUTH = {"true_asymmetry": True, "true_border_irregular": False, "true_colours": ["red", "black"], "skin_tone": "A"}
RIGHT = {"said_asymmetry": True, "said_border_irregular": False, "said_colours": ["red", "black"]}


def test_captioned_rows_are_added_up(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"status": "ok", "tokens_in": 300, "tokens_out": 40, "attempts": 1},
        {"status": "ok", "tokens_in": 300, "tokens_out": 50, "attempts": 3},
        {"status": "rejected", "reason": "empty file", "attempts": 0},
        {"status": "failed", "reason": "engine: too long", "tokens_in": 9, "attempts": 2},
    ]
    pq.write_table(conform(rows[:1], CAPTIONED), tmp_path / "a.parquet")
    pq.write_table(conform(rows[1:], CAPTIONED), tmp_path / "b.parquet")
    bad = {("rejected", "empty file"): 1, ("failed", "engine: too long"): 1}
    assert count(str(tmp_path)) == Counts(Counter({("ok", None): 2} | bad), 609, 90, 1, 2)
    assert count(str(tmp_path), pc.field("status") == "ok") == Counts(Counter({("ok", None): 2}), 600, 90, 0, 1)


def test_attributes_said_right_of_held_out_phantoms(tmp_path: Path) -> None:
    known = TRUTH | {"status": "ok", "split": "test"}
    rows = [known | RIGHT | {"said_skin_tone": "A"}, known | RIGHT | {"said_colours": ["black", "red"]}, known]
    rows += [known | {"split": "train"}, {"split": "test", "status": "ok"}]
    pq.write_table(conform(rows[:2], CAPTIONED), tmp_path / "a.parquet")
    pq.write_table(conform(rows[2:], CAPTIONED), tmp_path / "b.parquet")
    accuracy = attribute_accuracy(str(tmp_path))
    said = {"asymmetry": 2 / 3, "border": 2 / 3, "colours": 1 / 3, "skin_tone": 1 / 3}
    assert accuracy == said | {"mean": sum(said.values()) / 4, "images": 3}
