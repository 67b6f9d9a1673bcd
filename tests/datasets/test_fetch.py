"""Images of a block are fetched side by side; rows keep their order, and each its own error."""

import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray import storage
from dermray.datasets import folder, looking, sources, tables
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
    done: list[dict[str, Any]] = pa.concat_tables(looking._look_at(table)).to_pylist()
    assert [row["source_id"] for row in done] == table["source_id"].to_pylist()
    assert 16 <= most[0] <= 32, "at a time"
    bad = {i: (row["status"], row["reason"]) for i, row in enumerate(done) if row["status"] != "ok"}
    assert bad.keys() == {5, 6, 9}
    assert bad[5] == ("failed", "image file missing") and done[5]["image"] is None
    assert bad[9][0] == "failed" and bad[9][1].startswith("image file unreadable: ")
    assert all(row["image"] == images[i] for i, row in enumerate(done) if i not in bad)


def test_rows_are_handed_on_before_their_images_fill_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, images = rows_with_files(tmp_path)
    most = max(map(len, images))
    monkeypatch.setattr(looking, "BYTES_PER_PART", 4 * most)
    parts = list(looking._look_at(table))
    sizes = [sum(len(image or b"") for image in part["image"].to_pylist()) for part in parts]
    assert len(parts) > 5 and max(sizes) < 5 * most
    monkeypatch.undo()
    assert pa.concat_tables(parts).equals(pa.concat_tables(looking._look_at(table)))


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_block_is_a_chunk_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = phantom_row(0, SourceConfig(count=1, size=16, duplicates=0, broken=0))["image"]
    (tmp_path / "a.png").write_bytes(image)
    monkeypatch.setattr(tables, "ROWS_PER_CHUNK", 20)
    (tmp_path / "t.csv").write_text("image,n\n" + "".join(f"a.png,{i}\n" for i in range(41)))
    monkeypatch.setattr(sources, "MOST_BLOCKS", 2)  # a task has several
    reading = folder.read(folder.SourceConfig(path=str(tmp_path), table="t.csv"))
    blocks, _ = looking.look_at_all([reading], str(tmp_path / "raw"))
    files = {file.stem: pq.read_metadata(file).num_rows for file in (tmp_path / "raw").iterdir()}
    assert dict(blocks) == files and sorted(files.values()) == [1, 20, 20]
