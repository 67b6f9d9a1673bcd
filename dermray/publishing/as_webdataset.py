"""Webdataset shards: data/train-000000.tar with <sample_id>.jpg (or .png), .json and, of captioned rows, .txt."""

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

from dermray.publishing.files import placed, told
from dermray.publishing.plan import Shard
from dermray.publishing.rows import Row
from dermray.publishing.wrote import Wrote

MOST_ROWS = 1_000_000
PATTERN = "data/{split}-*.tar"
CAPTION = "caption"  # the column that is a sample's .txt


def name(shard: Shard) -> str:
    """Of the shard's file."""
    return f"data/{shard.split_name}-{shard.number:06d}.tar"


def write(output: str, shard: Shard, rows: Iterator[Row], columns: list[str], threads: int) -> Wrote:
    """The shard's file. All samples have the same keys, because readers take them from the first ones."""
    wrote, file = Wrote(), name(shard)
    with placed(output, file) as local:
        with tarfile.open(local, "w", format=tarfile.PAX_FORMAT) as tar:
            for row in rows:
                _add(tar, f"{row['sample_id']}.{wrote.image(row['image'], shard.split_name)}", row["image"])
                _add(tar, f"{row['sample_id']}.json", json.dumps(_told(row, columns), ensure_ascii=False).encode())
                if CAPTION in columns:
                    _add(tar, f"{row['sample_id']}.txt", (row[CAPTION] or "").encode())
        wrote.files.append(told(file, local))
    return wrote


def _told(row: Row, columns: list[str]) -> dict[str, Any]:
    """JSON knows no NaN."""
    return {column: None if row[column] != row[column] else row[column] for column in columns}


def _add(tar: tarfile.TarFile, member: str, data: bytes) -> None:
    """A file that says neither when nor by whom it was written: the same bytes whoever exports."""
    info = tarfile.TarInfo(member)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
