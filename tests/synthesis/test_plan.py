"""The plan is made in blocks from an index of files; what it must be is written down here without either."""

import hashlib
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermray.records import CAPTIONED, conform
from dermray.synthesis.plan import Captions, captions_of, cell_counts, cell_name, indexed, requests, sizes_of

Row = dict[str, Any]
TONES = ["A", "B", None]


def row(number: int, malignant: bool | None, skin_tone: str | None, usable: bool = True) -> Row:
    return {
        "sample_id": hashlib.sha256(str(number).encode()).hexdigest(), "caption": f"caption {number}",
        "malignant": malignant, "skin_tone": skin_tone, "diagnosis": f"d{number}", "entity": "other",
        "modality": "dermoscopic", "status": "ok" if usable else "failed", "split": "train",
    }  # fmt: skip


CAPTIONS = [row(i, [True, False, False][i % 3], ["A", "A", "B", None][i % 4]) for i in range(24)]


def naive(captions: list[Row], count: int, seed: int) -> list[Row]:
    """As the plan is defined: all captions in memory, request after request."""
    usable = [row for row in captions if row["status"] == "ok" and row["malignant"] is not None]
    cells: dict[Any, list[Row]] = {}
    for one in sorted(usable, key=lambda one: (one["malignant"], one["skin_tone"] or "", one["sample_id"])):
        cells.setdefault((one["malignant"], one["skin_tone"]), []).append(one)
    plan = []
    for number in range(count):
        rng, of_cell = np.random.default_rng((seed, number)), list(cells.values())[number % len(cells)]
        drawn = of_cell[int(rng.integers(len(of_cell)))]
        kept = {name: drawn[name] for name in ("malignant", "skin_tone", "diagnosis", "entity", "modality")}
        plan.append(
            {"plan_id": f"{number:010d}", **kept, "prompt": drawn["caption"], "prompt_sample_id": drawn["sample_id"],
             "seed": int(rng.integers(1 << 62))}
        )  # fmt: skip
    return plan


def test_every_cell_has_each_size_equally_often() -> None:
    numbers, cells, sizes = range(60), 5, (128, 256, 512)
    counts = Counter(
        (number % cells, size) for number, size in zip(numbers, sizes_of(numbers, cells, sizes), strict=True)
    )
    assert len(counts) == 15 and set(counts.values()) == {4}
    assert sizes_of(range(20, 60), cells, sizes) == sizes_of(numbers, cells, sizes)[20:], "whatever the blocks"


def index(files: list[str], per_scan: int) -> Captions:
    scans = range(0, len(files), per_scan)
    return indexed([captions_of(files[i : i + per_scan], i, []) for i in scans])


def in_blocks(directory: Path, parts: list[list[Row]], count: int, seed: int, block: int, per_scan: int = 2) -> Any:
    """The plan of captions that lie in so many files, made in blocks of so many requests, the last one first."""
    files = [str(directory / f"{i}.parquet") for i in range(len(parts))]
    for file, rows in zip(files, parts, strict=True):
        pq.write_table(conform(rows, CAPTIONED), file, row_group_size=3)
    cells = index(files, per_scan).cells
    blocks = [
        requests(cells, files, range(first, min(count, first + block)), seed) for first in range(0, count, block)[::-1]
    ]
    return pa.concat_tables(blocks[::-1]).to_pylist()


def plan(tmp_path: Path, captions: list[Row], count: int, seed: int) -> list[Row]:
    made: list[Row] = in_blocks(tmp_path, [captions], count, seed, count)
    return made


@settings(deadline=None, max_examples=25)
@given(data=st.data(), count=st.integers(1, 60), seed=st.integers(0, 1000), block=st.integers(1, 70))
def test_blocks_make_the_plan_whatever_files_the_captions_lie_in(
    data: st.DataObject, count: int, seed: int, block: int
) -> None:
    cells = st.tuples(st.sampled_from([True, False, None]), st.sampled_from(TONES), st.booleans())
    drawn = data.draw(st.lists(cells, min_size=1, max_size=30))
    captions = [row(i, *cell) for i, cell in enumerate([(True, "A", True), *drawn])]
    order = data.draw(st.permutations(captions))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
    parts = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    with tempfile.TemporaryDirectory() as directory:
        made = in_blocks(Path(directory), parts, count, seed, block, per_scan=data.draw(st.integers(1, 5)))
    assert made == naive(captions, count, seed)
    known = {(one["malignant"], one["skin_tone"]) for one in captions if one["status"] == "ok"}
    counts = Counter(cell_name((one["malignant"], one["skin_tone"])) for one in made)
    possible = {cell for cell in known if cell[0] is not None}
    assert max(counts.values()) - min(counts.get(cell_name(cell), 0) for cell in possible) <= 1
    assert counts == cell_counts(sorted(possible, key=lambda cell: (cell[0], cell[1] or "")), count)


def test_prompts_come_from_captions_of_their_own_cell(tmp_path: Path) -> None:
    by_id = {row["sample_id"]: row for row in CAPTIONS}
    for request in plan(tmp_path, CAPTIONS, 60, 0):
        source = by_id[request["prompt_sample_id"]]
        assert request["prompt"] == source["caption"]
        assert (request["malignant"], request["skin_tone"]) == (source["malignant"], source["skin_tone"])


def test_a_plan_depends_on_its_seed_and_a_longer_one_begins_with_it(tmp_path: Path) -> None:
    assert plan(tmp_path, CAPTIONS, 30, 1) != plan(tmp_path, CAPTIONS, 30, 2)
    longer = plan(tmp_path, CAPTIONS, 200, 1)
    assert longer[:30] == plan(tmp_path, CAPTIONS, 30, 1)
    assert len({request["seed"] for request in longer}) == len({request["plan_id"] for request in longer}) == 200


def test_ids_that_are_no_hashes_have_an_order_too(tmp_path: Path) -> None:
    captions = [one | {"sample_id": f"s{i}"} for i, one in enumerate(CAPTIONS)]
    parts = [captions[::-2], captions[::2]]
    assert plan(tmp_path, captions, 30, 1) == in_blocks(tmp_path, parts, 30, 1, 7)


def test_the_index_takes_16_bytes_a_caption(tmp_path: Path) -> None:
    plan(tmp_path, CAPTIONS, 1, 0)
    found = index([str(tmp_path / "0.parquet")], 1).cells
    assert sum(entries.nbytes for entries in found.values()) == 16 * len(CAPTIONS)


def test_nothing_to_balance_over(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="known label"):
        plan(tmp_path, [row | {"malignant": None} for row in CAPTIONS], 10, 0)
