"""What to draw: so many images of each cell, each from a training caption of that cell, or from its attributes.

`Deal` says which cell a request is of. Its caption and its seed are drawn with the random numbers of (seed, number of
the request), so that any part of the plan can be made by itself. Of the captions an index is kept: 16 bytes for each.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dermray import storage
from dermray.captioning.compose import joined
from dermray.generators.coverage import Reader, mostly_unknown
from dermray.records import IMAGES, sample_id
from dermray.synthesis.cells import Cell, Cells, in_order
from dermray.synthesis.deal import Deal
from dermray.synthesis.plan_settings import ATTRIBUTES
from dermray.where import value

KEPT = [  # of the prompt's row
    *("malignant", "skin_tone", "skin_tone_source", "diagnosis", "entity", "modality", "sex", "age", "site"),
]
PLAN = pa.schema(
    [
        ("plan_id", pa.string()),
        *(IMAGES.field(name) for name in KEPT),
        ("prompt", pa.string()),
        ("prompt_sample_id", pa.string()),
        ("seed", pa.int64()),
    ]
)
# Where a caption lies, and what it is sorted by. Big-endian numbers are in order where their bytes are.
ENTRY = np.dtype([("key", ">u8"), ("file", ">u4"), ("row", ">u4")])
FILES_AT_A_TIME = 16
VALUES = 1000  # of an attribute, that are counted
SHA256 = re.compile("[0-9a-f]{64}")
Spoken = tuple[str, ...] | None  # metadata that prompts are written from, in order; None: they are captions


@dataclass
class Captions:
    """Training captions by their cells, and what else there is of these."""

    cells: dict[Cell, np.ndarray] = field(default_factory=dict)  # of ENTRY: those that can be prompts
    real: Counter[Cell] = field(default_factory=Counter)  # rows, those whose caption is no prompt among them
    unread: dict[Cell, str] = field(default_factory=dict)  # of each cell a prompt that the generator cannot read
    left_out: int = 0  # of which there are so many, those without a cell among them
    rows: int = 0
    homeless: int = 0  # rows that are in no cell
    estimated: int = 0  # rows whose skin tone was estimated from the image
    unsaid: int = 0  # rows whose caption does not begin with what is written from their metadata
    values: dict[str, Counter[Any]] = field(default_factory=lambda: {name: Counter() for name in ATTRIBUTES})

    def count(self, row: dict[str, Any], homes: Sequence[Cell]) -> None:
        """One more row."""
        self.rows += 1
        self.homeless += not homes
        self.real.update(homes)
        self.estimated += row["skin_tone_source"] == "estimated"
        for name, counts in self.values.items():
            found = value(row, name)
            if found is not None and (found in counts or len(counts) < VALUES):
                counts[found] += 1


def captions_of(files: list[str], first: int, readers: list[Reader], cells: Cells, spoken: Spoken = None) -> Captions:
    """The usable training captions of some of a stage's Parquet files.

    Args:
        files: URIs. first: number of the first of them among all files.
        readers: of the generator. Texts that are mostly words which they do not know are no prompts.
    """
    found, entries = Captions(), defaultdict[Cell, list[tuple[int, int, int]]](list)
    for number, file in enumerate(files, start=first):
        for rows in _usable_rows(file):
            prompts = [prompt_of(row, spoken) for _, row in rows]
            unread = mostly_unknown(readers, sorted(set(prompts))) | {""}
            for (position, row), prompt in zip(rows, prompts, strict=True):
                homes = cells.of(row)
                found.count(row, homes)
                found.unsaid += not row["caption"].startswith(prompt)
                found.left_out += prompt in unread
                for cell in homes:
                    if prompt in unread:
                        found.unread[cell] = min(prompt, found.unread.get(cell, prompt))
                    else:
                        entries[cell].append((_key(row["sample_id"]), number, position))
    found.cells = {cell: np.array(of_cell, ENTRY) for cell, of_cell in entries.items()}
    return found


def prompt_of(row: dict[str, Any], spoken: Spoken) -> str:
    """A row's caption, or what captions say of its metadata."""
    return str(row["caption"]) if spoken is None else joined(row, "", spoken)


def _usable_rows(file: str) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Training rows that have a caption, with their positions in the file, batch by batch."""
    first = 0
    with _opened(file) as rows:
        for batch in rows.iter_batches(columns=["sample_id", "caption", *KEPT, "status", "split"]):
            numbered = enumerate(batch.to_pylist(), start=first)
            yield [(i, row) for i, row in numbered if row["status"] == "ok" and row["split"] == "train"]
            first += len(batch)


def _key(name: str) -> int:
    """64 bits of a SHA-256: that of the image, which a sample id is, or else the id's own."""
    digest = name if SHA256.fullmatch(name) else sample_id(name.encode())
    return int(digest[:16], 16)


def indexed(parts: Iterable[Captions]) -> Captions:
    """All captions, in an order that does not depend on the files they lie in."""
    parts, whole = list(parts), Captions()
    for part in parts:
        whole.real.update(part.real)
        whole.unread |= part.unread
        for name in ("left_out", "rows", "homeless", "estimated", "unsaid"):
            setattr(whole, name, getattr(whole, name) + getattr(part, name))
        for name, counts in part.values.items():
            whole.values[name].update(counts)
    for cell in sorted(whole.real, key=in_order):
        entries = [part.cells[cell] for part in parts if cell in part.cells]
        merged = np.concatenate([np.empty(0, ENTRY), *entries], dtype=ENTRY)
        merged.view("S16").sort()  # in place
        whole.cells[cell] = merged
    return whole


def requests(
    cells: dict[Cell, np.ndarray], files: list[str], deal: Deal, numbers: range, seed: int, spoken: Spoken = None
) -> pa.Table:
    """These requests of the plan, with the schema PLAN. Memory grows with them, and with the captions of some files.

    Args:
        cells: of `indexed` captions. files: all of the captions' files, as they were numbered.
    """
    order, entries = list(cells.values()), np.empty(len(numbers), ENTRY)
    seeds = np.empty(len(numbers), "int64")
    for i, (number, cell) in enumerate(zip(numbers, deal.places(numbers)[0].tolist(), strict=True)):
        rng, captions = np.random.default_rng((seed, number)), order[cell]
        entries[i] = captions[int(rng.integers(len(captions)))]
        seeds[i] = rng.integers(1 << 62)
    rows = _rows_at(files, entries)
    columns = {
        "plan_id": [f"{number:010d}" for number in numbers],
        **{name: rows[name] for name in KEPT},
        "prompt": rows["caption"] if spoken is None else [prompt_of(row, spoken) for row in rows.to_pylist()],
        "prompt_sample_id": rows["sample_id"],
        "seed": seeds,
    }
    return pa.table(columns, PLAN)


def sizes_of(numbers: range, deal: Deal, sizes: Sequence[int]) -> list[int]:
    """Sides in px of the images of these requests: every cell has each size equally often."""
    return [sizes[rank % len(sizes)] for rank in deal.places(numbers)[1].tolist()]


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
