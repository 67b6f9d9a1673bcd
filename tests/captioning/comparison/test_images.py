"""The choice of images: balanced, of different lesions, and the same whatever lies where."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray import manifest
from dermray.captioning.comparison.images import Chosen, chosen, draw
from dermray.captioning.comparison.settings import CompareConfig
from dermray.config import validate
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.manifest import Rows
from dermray.page_index import write_options
from dermray.records import IMAGES, conform, read_columns, sample_id
from dermray.row_files import row_files
from tests.captioning.comparison.test_settings import TWO

MALIGNANT = 12  # of COUNT
COUNT = 90


def rows() -> list[dict[str, Any]]:
    """A few malignant ones, two images of each lesion, and one row that is not usable."""
    found: list[dict[str, Any]] = []
    for i in range(COUNT):
        row = phantom_row(i, SourceConfig(count=COUNT, size=16, broken=0, duplicates=0))
        about = {"sample_id": sample_id(row["image"]), "leak_group": f"g{i // 2}", "malignant": i < MALIGNANT}
        found.append(row | about | {"status": "ok", "split": "test", "source": "a" if i % 2 else "b"})
    return [*found, found[0] | {"sample_id": "0" * 64, "status": "rejected", "reason": "blurred", "leak_group": "z"}]


def ingested(directory: Path, parts: list[list[dict[str, Any]]]) -> str:
    """As the ingest stage leaves it, in a file a part."""
    settings = Chosen(output=str(directory), images=1, stratify_by=[], seed=0)
    total = sum(map(len, parts))
    with manifest.work("ingest", str(directory), settings, {}) as work:
        Path(work.data, "rows").mkdir(parents=True)
        for number, part in enumerate(parts):
            pq.write_table(conform(part, IMAGES), f"{work.data}/rows/{number}.parquet", **write_options(IMAGES))
        work.commit(Rows(rows_in=total, ok=total - 1, rejected=1, failed=0), total)
    return str(directory)


def config(source: str, output: Path, **more: Any) -> CompareConfig:
    return validate(CompareConfig, {"output": str(output), "rows": source, "captioners": TWO, "images": 20} | more)


def test_the_same_images_however_rows_lie(tmp_path: Path) -> None:
    every = rows()
    one = chosen(config(ingested(tmp_path / "one", [every]), tmp_path / "a", stratify_by=["malignant"]))
    parts = [every[::-1][i::3] for i in range(3)]
    other = chosen(config(ingested(tmp_path / "other", parts), tmp_path / "b", stratify_by=["malignant"]))
    found, again = (read_columns(f"{r.data}/rows", IMAGES.names).sort_by("sample_id").to_pylist() for r in (one, other))
    assert found == again and len(found) == 20 == one.manifest.rows.ok
    known = {row["sample_id"]: row for row in every}
    assert all(row["image"] == known[row["sample_id"]]["image"] and row["status"] == "ok" for row in found)
    assert len({row["leak_group"] for row in found}) == 20, "no two of one lesion"
    # six lesions are malignant: all of them are shown, and the benign ones fill up
    assert Counter(row["malignant"] for row in found) == {True: MALIGNANT // 2, False: 14}
    other_seed = draw(row_files(f"{one.data}/rows"), Chosen(output="x", images=5, stratify_by=[], seed=1))
    assert other_seed != draw(row_files(f"{one.data}/rows"), Chosen(output="x", images=5, stratify_by=[], seed=0))


def test_a_lesion_of_two_strata_is_shown_once(tmp_path: Path) -> None:
    source = ingested(tmp_path / "i", [rows()])
    found = read_columns(
        f"{chosen(config(source, tmp_path / 'a', stratify_by=['source'], images=COUNT // 2)).data}/rows",
        ["leak_group", "source"],
    )
    assert len(set(found["leak_group"].to_pylist())) == COUNT // 2
    shares = Counter(found["source"].to_pylist())
    assert abs(shares["a"] - shares["b"]) <= 1


def test_too_few_images_are_told(tmp_path: Path) -> None:
    source = ingested(tmp_path / "i", [rows()])
    with pytest.raises(ValueError, match="images=46: .* has 45 usable images of different lesions; give fewer"):
        chosen(config(source, tmp_path / "a", images=46))


def test_what_is_kept_of_many_rows_is_what_may_be_shown(tmp_path: Path) -> None:
    """More lesions than are held of a stratum: the choice is the one out of all of them."""
    n = 3000
    table = pa.table({
        "sample_id": [f"{i:064x}" for i in range(n)], "leak_group": [f"g{i % (n // 2)}" for i in range(n)],
        "status": ["ok"] * n, "malignant": [i % 5 == 0 for i in range(n)],
    })  # fmt: skip
    (tmp_path / "rows").mkdir()
    pq.write_table(table, tmp_path / "rows" / "a.parquet")
    asked = Chosen(output="x", images=7, stratify_by=["malignant"], seed=0)
    first = sorted(range(n // 2), key=lambda lesion: hashlib.sha256(f"0 g{lesion}".encode()).hexdigest())
    benign, malignant = ([i for i in first if (i % 5 == 0) is label] for label in (False, True))
    assert draw(row_files(f"{tmp_path}/rows"), asked) == {f"{i:064x}" for i in (*benign[:4], *malignant[:3])}
