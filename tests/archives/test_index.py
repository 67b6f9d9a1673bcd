"""The names of an archive, in order, and kept for all processes of a node."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray import stores
from dermray.archives import index
from dermray.archives.index import Index, sorted_table
from dermray.archives.members import Member
from tests.archives.packing import zip_of

NAMES = st.lists(st.sampled_from(["a", "a.", "a0", "b", "é", "z.jpg"]), min_size=1, max_size=4).map("/".join)


@given(st.sets(NAMES, max_size=12))
def test_levels_and_files_are_those_of_a_folder(names: set[str]) -> None:
    found = Index(sorted_table(Member(name.encode(), i, 0, 0) for i, name in enumerate(names)))
    assert len(found) == len(names) and all(found.find(name) for name in names) and found.find("none") is None
    for folder in {"", "a/", *(name[: name.rindex("/") + 1] for name in names if "/" in name)}:
        below = {name for name in names if name.startswith(folder)}
        assert [member.name.decode() for member in found.below(folder)] == sorted(below, key=str.encode)
        listed = [e.decode() if isinstance(e, bytes) else e.name.decode() for e in found.level(folder)]
        inner = {name[len(folder) :] for name in below}
        assert sorted(listed) == sorted({folder + n.partition("/")[0] + "/" * ("/" in n) for n in inner})
        assert found.is_folder(folder) == bool(below)


def members(number: int) -> Iterator[Member]:
    return (Member(f"in/{i % number:06d}.jpg".encode(), i, 1, 1) for i in reversed(range(number)))


def test_more_files_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "BATCH", 10)
    monkeypatch.setattr(index, "LISTED", 7)
    found = Index(sorted_table(members(95)))
    assert [member.start for member in found.below("in/")] == list(range(95))
    assert found.at(40) == Member(b"in/000040.jpg", 40, 1, 1)


def test_one_process_makes_it_and_others_map_it(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = stores.ranges(zip_of(tmp_path / "x.zip", ("a.jpg", b"a")))
    assert index.of(file).find("a.jpg")
    monkeypatch.setattr(index, "_made", None)
    before = pa.total_allocated_bytes()
    assert index.of(file).find("a.jpg") and pa.total_allocated_bytes() == before, "mapped into memory"
    monkeypatch.undo()
    [arrow] = cache.glob("*.arrow")
    arrow.write_bytes(b"half")
    monkeypatch.setenv("DERMRAY_CACHE", str(cache.parent))
    assert index.of(file).find("a.jpg"), "what is no index is made anew"
    old = cache / "old.arrow"
    old.write_bytes(b"")
    os.utime(old, (0, time.time() - index.KEPT - 60))
    zip_of(tmp_path / "x.zip", ("b.jpg", b"b"))
    assert index.of(stores.ranges(str(tmp_path / "x.zip"))).find("a.jpg") is None, "another archive of this name"
    assert not old.exists() and len(list(cache.glob("*.arrow"))) == 2


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path / "file"))
    assert index.of(stores.ranges(zip_of(tmp_path / "x.zip", ("a.jpg", b"a")))).find("a.jpg")
