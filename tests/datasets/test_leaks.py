"""Nothing that lies in two splits is missed, nothing else is accused, whatever the rows."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.datasets import leaks
from dermray.datasets.leaks import Keys, checked, distinct, distinct_by_split, require_whole_groups
from dermray.manifest import Manifest, Result, Rows
from dermray.records import IMAGES, SPLITS, conform

GROUPS = st.sampled_from(["a", "b", "c", "d", "é", ""]) | st.none()
ROWS = st.lists(
    st.tuples(GROUPS, st.sampled_from([*SPLITS, None]), st.sampled_from(["ok", "rejected"]), st.sampled_from("xy")),
    max_size=30,
)


def ingested(folder: Path, rows: list[tuple[Any, ...]], leaking_groups: dict[str, int] | None = None) -> Result:
    """A finished result of them."""
    folder.joinpath("data", "rows").mkdir(parents=True)
    written(folder / "data" / "rows", rows)
    told = Manifest(
        stage="ingest", key="k", config={}, inputs={}, data="data", rows=Rows(rows_in=0, ok=0, rejected=0, failed=0),
        versions={}, started=0, seconds=0, cpus=1, gpus=0, leaking_groups=leaking_groups or {},
    )  # fmt: skip
    return Result(str(folder), told)


def written(folder: Path, rows: list[tuple[Any, ...]]) -> str:
    """Three files."""
    for number in range(3):
        some = [dict(zip(("leak_group", "split", "status", "source"), row, strict=True)) for row in rows[number::3]]
        pq.write_table(conform(some, IMAGES), folder / f"{number}.parquet")
    return str(folder)


@given(rows=ROWS)
def test_as_counted_in_python(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]]) -> None:
    splits, by_source = defaultdict[str, set[str | None]](set), defaultdict[str, list[Any]](list)
    for group, split, status, source in rows:
        if status == "ok" and group is not None:
            splits[group].add(split)
            by_source[source].append((group, split))
    uri = written(tmp_path_factory.mktemp("rows"), rows)
    keys = Keys.read(uri, "leak_group")
    found = checked(uri, keys)
    crossing = {group: of - {None} for group, of in splits.items() if len(of - {None}) > 1}
    assert found.values == len(splits) and found.crossing == len(crossing)
    assert {name: set(of) for name, of in found.named.items()} == crossing
    assert found.rows == sum(map(len, by_source.values()))
    assert found.without == sum(status == "ok" and group is None for group, _, status, _ in rows)
    for source, pairs in by_source.items():
        values = keys.by_source[source]
        assert distinct(values) == len({group for group, _ in pairs})
        for split in (*SPLITS, None):
            assert distinct_by_split(values).get(split, 0) == len({g for g, own in pairs if own == split})


def test_neighbours_in_different_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a part ends between two rows of a group."""
    rows = [(f"g{i // 2}", SPLITS[i % 2], "ok", "x") for i in range(40)]
    uri = written(tmp_path, rows)
    for size in range(1, 8):
        monkeypatch.setattr(leaks, "AT_ONCE", size)
        keys = Keys.read(uri, "leak_group")
        assert checked(uri, keys).crossing == 20 and distinct(keys.all()) == 20
        assert distinct_by_split(keys.all()) == {"train": 20, "val": 20}
        assert leaks.firsts(keys.all()).sum() == 20


def test_two_names_of_one_hash_accuse_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uri = written(tmp_path, [("a", "train", "ok", "x"), ("b", "test", "ok", "x")])
    monkeypatch.setattr(leaks, "hashes", lambda names: np.full(len(names), 64, np.uint64))
    assert checked(uri, Keys.read(uri, "leak_group")).crossing == 0


def test_the_message_names_groups_and_splits(tmp_path: Path) -> None:
    rows = [("g1", "train", "ok", "x"), ("g1", "test", "ok", "y"), ("g2", "val", "ok", "x"), ("g2", "test", "ok", "x")]
    with pytest.raises(ValueError, match=r"group 'g1' lies in both 'train' and 'test' \(as do 1 more: g2\)"):
        require_whole_groups(ingested(tmp_path, rows))


def test_rows_that_were_split_by_image_leak_with_a_mark(tmp_path: Path) -> None:
    rows = [("g1", "train", "ok", "x"), ("g1", "test", "ok", "y")]
    require_whole_groups(ingested(tmp_path, rows, {"k": 1}))


def test_many_that_leak_are_counted_and_some_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(leaks, "EXACT", 10)
    rows = [(f"g{i // 2:02}", SPLITS[i % 2], "ok", "x") for i in range(60)]
    uri = written(tmp_path, rows)
    found = checked(uri, Keys.read(uri, "leak_group"))
    assert found.crossing == 30 and len(found.named) == 10
    assert found.told().startswith("leak groups: 30 checked, of 60 rows: 30 LIE IN SEVERAL SPLITS: g")
    assert found.told().endswith(", ...")


def test_no_rows(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([], IMAGES), tmp_path / "0.parquet")
    found = checked(str(tmp_path), Keys.read(str(tmp_path), "patient_id"))
    assert found.told() == "patients: none known, so nothing to check in 0 rows"
