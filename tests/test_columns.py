"""Columns read in batches and counted, against what reading all at once gives."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dermray import columns, storage
from dermray.columns import OTHER, Tally, add, batches, tally

STATUS = pa.schema([("id", pa.int64()), ("status", pa.string()), ("reason", pa.string()), ("label", pa.bool_())])


def row(number: int) -> dict[str, Any]:
    bad = number % 3 == 0
    return {
        "id": number,
        "status": "failed" if bad else "ok",
        "reason": f"engine: {number % 2} @ row {number}" if bad else None,
        "label": [True, False, None][number % 7 % 3],
    }


def write(uri: str, *sizes: int) -> list[dict[str, Any]]:
    """One file of each size."""
    rows = [row(number) for number in range(sum(sizes))]
    storage.make_directory(uri)
    system, path = storage.filesystem(uri)
    for file, size in enumerate(sizes):
        start = sum(sizes[:file])
        part = pa.Table.from_pylist(rows[start : start + size], STATUS)
        pq.write_table(part, f"{path}/{file:03}.parquet", row_group_size=50, filesystem=system)
    return rows


def read(uri: str, names: list[str], where: Any = None) -> list[dict[str, Any]]:
    return [row for batch in batches(uri, names, where) for row in batch.to_pylist()]


def test_rows_of_small_and_large_files_in_order(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "ROWS", 40)
    rows = write(f"{place}/rows", 3, 0, 170, *[7] * 20)
    assert read(f"{place}/rows", ["reason", "id"]) == [{"reason": r["reason"], "id": r["id"]} for r in rows]
    failed = [{"id": r["id"], "status": "failed"} for r in rows if r["status"] == "failed"]
    assert read(f"{place}/rows", ["id", "status"], pc.field("status") == "failed") == failed
    assert max(batch.num_rows for batch in batches(f"{place}/rows", ["id"])) == 40
    with pytest.raises(KeyError, match="colour"):
        read(f"{place}/rows", ["colour"])


def test_files_are_opened_few_at_a_time_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(str(tmp_path), *[2] * 40)
    opened, parquet = [0], pq.ParquetFile

    def noted(*given: Any, **named: Any) -> Any:
        opened[0] += 1
        return parquet(*given, **named)

    monkeypatch.setattr(pq, "ParquetFile", noted)
    reading = batches(str(tmp_path), ["id"])
    next(reading)
    reading.close()  # type: ignore[attr-defined]  # a generator
    assert opened[0] <= columns.FILES_AHEAD


def test_no_files_have_no_rows(place: str) -> None:
    assert read(f"{place}/nowhere", ["id"]) == []


def test_counts_are_those_of_all_rows_at_once(tmp_path: Path) -> None:
    rows = write(str(tmp_path), 100, 1, 250)
    kinds = [(r["status"], r["reason"] and r["reason"].partition(" @ ")[0], r["label"]) for r in rows]
    assert tally(str(tmp_path), ["label"]) == Counter(kinds)


def test_reasons_that_all_differ_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "KINDS", 10)
    counts: Tally = Counter()
    for start in range(0, 100, 20):
        names = [f"request {start + i} timed out" for i in range(20)]
        add(counts, pa.record_batch({"status": ["failed"] * 20, "reason": names}))
    assert counts.total() == 100 and len(counts) == 11 and counts["failed", OTHER] == 90
