"""Images of a block are fetched side by side; rows keep their order, and each its own error."""

import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dermray import storage
from dermray.datasets import ingest
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.records import IMAGES, conform

COUNT = 64


def rows_with_files(folder: Path) -> tuple[pa.Table, list[bytes]]:
    """Rows of images in files; number 5's is missing, 6 was given up by its source, 7 has its bytes already, 9's name
    is none."""
    given = [phantom_row(i, SourceConfig(count=COUNT, size=32, duplicates=0, broken=0)) for i in range(COUNT)]
    images = [row.pop("image") for row in given]
    table = conform(given, IMAGES)
    uris = [str(folder / f"{i}.png") for i in range(COUNT)]
    for i, (uri, image) in enumerate(zip(uris, images, strict=True)):
        if i != 5:
            Path(uri).write_bytes(image)
    uris[9] = f"{folder}/a\0b"
    status = [None if i != 6 else "failed" for i in range(COUNT)]
    held = [None if i != 7 else images[7] for i in range(COUNT)]
    for name, column, kind in (("status", status, pa.string()), ("image", held, pa.binary())):
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(column, kind))
    return table.append_column("uri", pa.array(uris)), images


def test_order_and_errors_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, images = rows_with_files(tmp_path)
    read, lock, now, most = storage.read_bytes, threading.Lock(), [0], [0]

    def slow(uri: str) -> bytes:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        try:
            time.sleep(0.02)
            return read(uri)
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(storage, "read_bytes", slow)
    done: list[dict[str, Any]] = ingest._look_at(table).to_pylist()
    assert [row["source_id"] for row in done] == table["source_id"].to_pylist()
    assert 16 <= most[0] <= 32, "at a time"
    bad = {i: (row["status"], row["reason"]) for i, row in enumerate(done) if row["status"] != "ok"}
    assert bad.keys() == {5, 6, 9}
    assert bad[5] == ("failed", "image file missing") and done[5]["image"] is None
    assert bad[9][0] == "failed" and bad[9][1].startswith("image file unreadable: ")
    assert all(row["image"] == images[i] for i, row in enumerate(done) if i not in bad)
