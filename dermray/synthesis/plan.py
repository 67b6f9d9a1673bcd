"""What to draw: equally many images of every cell, label x skin tone, each from a training caption of that cell.

Request number i is one of cell i modulo the number of cells. Its caption and its seed are drawn with the random numbers
of (seed, i), so that any part of the plan can be made by itself. Of the captions an index is kept: 16 bytes for each.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dermray import storage
from dermray.generators.coverage import Reader, mostly_unknown
from dermray.records import sample_id

PLAN = pa.schema(
    [
        ("plan_id", pa.string()),
        ("malignant", pa.bool_()),
        ("skin_tone", pa.string()),
        ("diagnosis", pa.string()),
        ("entity", pa.string()),
        ("modality", pa.string()),
        ("prompt", pa.string()),
        ("prompt_sample_id", pa.string()),
        ("seed", pa.int64()),
    ]
)
KEPT = ["malignant", "skin_tone", "diagnosis", "entity", "modality"]  # of the row whose caption is the prompt
# Where a caption lies, and what it is sorted by. Big-endian numbers are in order where their bytes are.
ENTRY = np.dtype([("key", ">u8"), ("file", ">u4"), ("row", ">u4")])
FILES_AT_A_TIME = 16
SHA256 = re.compile("[0-9a-f]{64}")
Cell = tuple[bool, str | None]


@dataclass
class Captions:
    """Training captions by their cells."""

    cells: dict[Cell, np.ndarray] = field(default_factory=dict)  # of ENTRY: those that can be prompts
    unread: dict[Cell, str] = field(default_factory=dict)  # of each cell a caption that the generator cannot read
    left_out: int = 0  # of which there are so many, those without a cell among them


def captions_of(files: list[str], first: int, readers: list[Reader]) -> Captions:
    """The usable training captions of some of a stage's Parquet files.

    Args:
        files: URIs. first: number of the first of them among all files.
        readers: of the generator. Captions that are mostly words which they do not know are no prompts.
    """
    found, entries = Captions(), defaultdict[Cell, list[tuple[int, int, int]]](list)
    for number, file in enumerate(files, start=first):
        for rows in _usable_rows(file):
            unread = mostly_unknown(readers, sorted({row["caption"] for _, row in rows}))
            for position, row in rows:
                cell, known = (row["malignant"], row["skin_tone"]), row["malignant"] is not None
                if row["caption"] in unread:
                    found.left_out += 1
                    if known:
                        found.unread[cell] = min(row["caption"], found.unread.get(cell, row["caption"]))
                elif known:
                    entries[cell].append((_key(row["sample_id"]), number, position))
    found.cells = {cell: np.array(of_cell, ENTRY) for cell, of_cell in entries.items()}
    return found


def _usable_rows(file: str) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Training rows that have a caption, with their positions in the file, batch by batch."""
    first = 0
    with _opened(file) as rows:
        for batch in rows.iter_batches(columns=["sample_id", "caption", "malignant", "skin_tone", "status", "split"]):
            numbered = enumerate(batch.to_pylist(), start=first)
            yield [(i, row) for i, row in numbered if row["status"] == "ok" and row["split"] == "train"]
            first += len(batch)


def _key(name: str) -> int:
    """64 bits of a SHA-256: that of the image, which a sample id is, or else the id's own."""
    digest = name if SHA256.fullmatch(name) else sample_id(name.encode())
    return int(digest[:16], 16)


def indexed(parts: Iterable[Captions]) -> Captions:
    """All captions, in an order that does not depend on the files they lie in.

    Raises:
        ValueError: no caption has a known label, or a cell has captions and none that can be read.
    """
    parts = list(parts)
    unread = {cell: caption for part in parts for cell, caption in part.unread.items()}
    cells = sorted({cell for part in parts for cell in part.cells}, key=_order)
    if not cells and not unread:
        raise ValueError("no training caption has a known label: nothing to balance over")
    _require_prompts(unread, cells)
    whole = Captions(left_out=sum(part.left_out for part in parts))
    for cell in cells:
        entries = np.concatenate([part.cells[cell] for part in parts if cell in part.cells], dtype=ENTRY)
        entries.view("S16").sort()  # in place
        whole.cells[cell] = entries
    return whole


def _order(cell: Cell) -> tuple[bool, str]:
    return cell[0], cell[1] or ""


def _require_prompts(unread: dict[Cell, str], cells: list[Cell]) -> None:
    """What is drawn from captions that cannot be read would all be alike."""
    if missing := sorted(unread.keys() - set(cells), key=cell_name):
        raise ValueError(
            f"no training caption of the cells {list(map(cell_name, missing))} can be a prompt: they are mostly words "
            f"that the generator's text encoder does not know, for example {unread[missing[0]]!r}, and would all draw "
            "the same; translate the captions"
        )


def requests(cells: dict[Cell, np.ndarray], files: list[str], numbers: range, seed: int) -> pa.Table:
    """These requests of the plan, with the schema PLAN. Memory grows with them, and with the captions of some files.

    Args:
        cells: of `indexed` captions. files: all of the captions' files, as they were numbered.
    """
    order, entries = list(cells.values()), np.empty(len(numbers), ENTRY)
    seeds = np.empty(len(numbers), "int64")
    for i, number in enumerate(numbers):
        rng, captions = np.random.default_rng((seed, number)), order[number % len(order)]
        entries[i] = captions[int(rng.integers(len(captions)))]
        seeds[i] = rng.integers(1 << 62)
    rows = _rows_at(files, entries)
    columns = {
        "plan_id": [f"{number:010d}" for number in numbers],
        **{name: rows[name] for name in KEPT},
        "prompt": rows["caption"],
        "prompt_sample_id": rows["sample_id"],
        "seed": seeds,
    }
    return pa.table(columns, PLAN)


def sizes_of(numbers: range, cells: int, sizes: Sequence[int]) -> list[int]:
    """Sides in px of the images of these requests: every cell has each size equally often."""
    return [sizes[number // cells % len(sizes)] for number in numbers]


def _rows_at(files: list[str], entries: np.ndarray) -> pa.Table:
    """The rows where `entries` lie, in their order. Each file is read once."""
    by_file = np.argsort(entries["file"], kind="stable")
    numbers, starts = np.unique(entries["file"][by_file], return_index=True)

    def read(number: int, wanted: np.ndarray) -> pa.Table:
        with _opened(files[number]) as rows:
            return rows.read(["sample_id", "caption", *KEPT]).take(entries["row"][wanted].astype("int64"))

    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        parts = pool.map(read, numbers.tolist(), np.split(by_file, starts[1:]))
        return pa.concat_tables(parts).take(np.argsort(by_file))


def _opened(file: str) -> Any:
    system, path = storage.filesystem(file)
    return pq.ParquetFile(path, filesystem=system)


def cell_counts(cells: Iterable[Cell], count: int) -> dict[str, int]:
    """Requests per cell, of those that have any."""
    names = list(map(cell_name, cells))
    counts = {name: count // len(names) + (i < count % len(names)) for i, name in enumerate(names)}
    return {name: number for name, number in counts.items() if number}


def cell_name(cell: Cell) -> str:
    """A cell in words."""
    malignant, skin_tone = cell
    return f"{'malignant' if malignant else 'benign'}, skin tone {skin_tone or 'unknown'}"
