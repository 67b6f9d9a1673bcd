"""Equal pairs over many files, held to a plain count."""

import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray.records import INSTRUCTION_PAIR, sample_id
from dermray.vlm.instruct.repeated import EQUAL, beyond, rejects


@pytest.mark.parametrize("most", [1, 3])
def test_the_first_images_keep_a_pair_and_later_ones_do_not(tmp_path: Path, most: int) -> None:
    draw = random.Random(most)
    rows = []
    for number in range(200):
        pairs = [
            {"question": f"Question {kind}?", "answer": draw.choice(["Brown.", "brown. ", "Round.", f"Only {number}."]),
             "kind": kind, "status": draw.choice(["ok", "ok", "rejected"]), "reason": None}
            for kind in ("general", "specific")
        ]  # fmt: skip
        rows.append({"sample_id": sample_id(str(number).encode()), "pairs": pairs if number % 9 else None})
    schema = pa.schema([("sample_id", pa.string()), ("pairs", pa.list_(INSTRUCTION_PAIR))])
    for start in range(0, 200, 70):
        pq.write_table(pa.Table.from_pylist(rows[start : start + 70], schema), tmp_path / f"{start}.parquet")
    names, seen, rejected = beyond(str(tmp_path), most), Counter[tuple[str, str]](), 0
    for row in sorted(rows, key=lambda row: str(row["sample_id"])):
        for before, after in zip(row["pairs"] or [], rejects(names, row), strict=True):
            assert isinstance(before, dict)
            words = (before["question"], before["answer"].strip().lower())
            repeats = before["status"] == "ok" and seen[words] >= most
            assert after == (before | {"status": "rejected", "reason": EQUAL} if repeats else before)
            seen[words] += before["status"] == "ok"
            rejected += repeats
    assert rejected == len(names) > 100


def test_nothing_repeats_in_nothing(tmp_path: Path) -> None:
    names = beyond(str(tmp_path), 1)
    assert len(names) == 0 and rejects(names, {"sample_id": "ab", "pairs": None}) == []
